package analysis

import (
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

const ubiDockerfile = `FROM sha256:4224eead
LABEL com.redhat.component="ubi8-container" \
      name="ubi8" \
# a comment between

      version="8.3"
ENV PATH /usr/local/sbin:/bin
ENV arch x86_64
RUN rm -rf /var/log/*
LABEL "release"="227" "vendor"="Red Hat, Inc." "architecture"=$arch "description"="one \"two\" three"
`

func TestBuildDockerfileNamesTheImage(t *testing.T) {
	for _, tc := range []struct{ name, dockerfile, component, arch string }{
		{"as Red Hat writes it", ubiDockerfile, "ubi8-container", "x86_64"},
		{"older labels, in any case", "FROM x\nENV base jboss-base\nLABEL BZComponent=\"${base}-7-docker\" Architecture='x86_64'\n", "jboss-base-7-docker", "x86_64"},
		{"the old form of a label", "FROM x\nLABEL com.redhat.component a-container\nlabel architecture s390x", "a-container", "s390x"},
		{"the last stage counts", "FROM x\nLABEL com.redhat.component=a architecture=b\nFROM y\nLABEL com.redhat.component=c architecture=d", "c", "d"},
		{"an argument of the whole file", "ARG a=arm64\nFROM x\nARG a=other\nLABEL com.redhat.component=c architecture=$a", "c", "arm64"},
		{"a word continued in the next line", "FROM x\nLABEL com.redhat.component=ubi8-\\\ncontainer architecture=a", "ubi8-container", "a"},
		{"another escape character", "# escape=`\nFROM x\nLABEL com.redhat.component=a`\n  architecture=b\\c", "a", `b\c`},
		{"dollars that are none", "FROM x\nLABEL com.redhat.component=\"a\\$b\" architecture='$c'", "a$b", "$c"},
		{"not what a here-document says", "FROM x\nRUN <<EOF\nLABEL com.redhat.component=a architecture=b\nEOF\nLABEL com.redhat.component=c", "c", ""},
		{"defaults are not plain", "FROM x\nLABEL com.redhat.component=${a:-b} architecture=c", "", ""},
		{"variables that multiply", "FROM x\nENV a " + strings.Repeat("x", 1000) + "\nLABEL com.redhat.component=$a$a$a$a$a architecture=c", "", ""},
		{"no label", "FROM x\nRUN true", "", ""},
		{"nothing", "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if component, arch := redHatLabels(tc.dockerfile); component != tc.component || arch != tc.arch {
				t.Errorf("labels are %q and %q, want %q and %q", component, arch, tc.component, tc.arch)
			}
		})
	}
}

func TestLayerKnowsRedHatsBuild(t *testing.T) {
	manifest := file{path: "root/buildinfo/content_manifests/ubi8-container-8.3-227.json", content: `{"metadata":{},"content_sets":["rhel-8-for-x86_64-baseos-rpms","rhel-8-for-x86_64-appstream-rpms"]}`}
	sets := []string{"rhel-8-for-x86_64-baseos-rpms", "rhel-8-for-x86_64-appstream-rpms"}
	dockerfile := file{path: "root/buildinfo/Dockerfile-ubi8-8.3-227", content: ubiDockerfile}
	for _, tc := range []struct {
		name  string
		files []file
		want  *ftypes.BuildInfo
	}{
		{"content sets", []file{manifest}, &ftypes.BuildInfo{ContentSets: sets}},
		{"of RHEL CoreOS", []file{{path: "usr/share/buildinfo/a.json", content: manifest.content}}, &ftypes.BuildInfo{ContentSets: sets}},
		{"the image", []file{dockerfile}, &ftypes.BuildInfo{Nvr: "ubi8-container-8.3-227", Arch: "x86_64"}},
		{"both", []file{dockerfile, manifest}, &ftypes.BuildInfo{Nvr: "ubi8-container-8.3-227", Arch: "x86_64", ContentSets: sets}},
		{"a manifest without any is another's", []file{{path: manifest.path, content: `{"components":[]}`}}, nil},
		{"a Dockerfile without labels", []file{{path: "root/buildinfo/Dockerfile", content: "FROM x\n"}}, nil},
		{"elsewhere", []file{{path: "app/content_manifests/a.json", content: manifest.content}, {path: "app/Dockerfile-a-1-2", content: ubiDockerfile}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.files...)
			if diff := cmp.Diff(tc.want, r.BuildInfo); diff != "" || len(r.Problems) > 0 {
				t.Errorf("build information (-want +got), problems %v:\n%s", r.Problems, diff)
			}
		})
	}
}
