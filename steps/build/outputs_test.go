package build

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

// parsed are the outputs of in, for one platform in an empty checkout.
func parsed(t *testing.T, in Results) (*outputs, string) {
	t.Helper()
	dir := t.TempDir()
	o, err := parseOutputs(in, 1, around(dir))
	if err != nil {
		t.Fatal(err)
	}
	return o, dir
}

func TestOutputsAreReadAsBuildxReadsThem(t *testing.T) {
	type shown struct {
		Kind, Dest string
		IsDir      bool
		Names      []string
		Attrs      map[string]string
	}
	none := map[string]string{}
	for _, tc := range []struct {
		name, record string
		want         shown
	}{
		{"a lone path is a directory", "out", shown{"local", "out", true, nil, nil}},
		{"a dash is an archive on standard output", "-", shown{"tar", "-", false, nil, nil}},
		{"docker", "type=docker,dest=a/image.tar", shown{"docker", "a/image.tar", false, []string{"docker.io/acme/app:1"}, none}},
		{"oci", "type=oci,dest=image.tar,compression=gzip", shown{"oci", "image.tar", false, []string{"docker.io/acme/app:1"}, map[string]string{"compression": "gzip"}}},
		{"oci as a directory", "type=oci,dest=layout,tar=false", shown{"oci", "layout", true, []string{"docker.io/acme/app:1"}, map[string]string{"tar": "false"}}},
		{"names of its own", `type=oci,dest=x,"name=ghcr.io/acme/b:2,ghcr.io/acme/c"`, shown{"oci", "x", false, []string{"ghcr.io/acme/b:2", "ghcr.io/acme/c:latest"}, map[string]string{"name": "ghcr.io/acme/b:2,ghcr.io/acme/c"}}},
		{"local", "type=local,dest=out,platform-split=false", shown{"local", "out", true, []string{"docker.io/acme/app:1"}, map[string]string{"platform-split": "false"}}},
		{"a dest with a comma", `type=tar,"dest=a,b.tar"`, shown{"tar", "a,b.tar", false, []string{"docker.io/acme/app:1"}, none}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, dir := parsed(t, Results{Tags: []string{"acme/app:1"}, Outputs: []string{tc.record}})
			if len(o.all) != 1 {
				t.Fatalf("%d outputs, want one", len(o.all))
			}
			out := o.all[0]
			got := shown{out.kind, strings.TrimPrefix(out.dest, dir+"/"), out.isDir, nil, out.attrs}
			for _, name := range out.names {
				got.Names = append(got.Names, name.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadOutputsAreUsageErrorsThatHelp(t *testing.T) {
	for _, tc := range []struct {
		name      string
		in        Results
		platforms int
		want      string
	}{
		{"type", Results{Outputs: []string{"type=squashfs,dest=x"}}, 1, `type "squashfs" is not accepted; want docker, oci, local, tar, image or registry`},
		{"no type", Results{Outputs: []string{"dest=x"}}, 1, `type "" is not accepted`},
		{"attribute", Results{Outputs: []string{"type=oci,dst=x"}}, 1, "attribute dst is not known for type=oci; want compression, dest"},
		{"twice", Results{Outputs: []string{"type=oci,dest=x,dest=y"}}, 1, "attribute dest is given twice"},
		{"no value", Results{Outputs: []string{"type=oci,dest"}}, 1, "want NAME=VALUE"},
		{"no dest", Results{Outputs: []string{"type=oci"}}, 1, "attribute dest is missing"},
		{"other compression", Results{Outputs: []string{"type=oci,dest=x,compression=zstd"}}, 1, `attribute compression: "zstd" is not accepted; want gzip`},
		{"docker directory", Results{Outputs: []string{"type=docker,dest=x,tar=false"}}, 1, `attribute tar: "false" is not accepted; want true`},
		{"directory on standard output", Results{Outputs: []string{"type=local,dest=-"}}, 1, "does not fit on standard output"},
		{"two to one place", Results{Outputs: []string{"type=oci,dest=x", "type=docker,dest=./x"}}, 1, "another output goes there"},
		{"two to standard output", Results{Outputs: []string{"-", "type=oci,dest=-"}}, 1, "another output goes there"},
		{"docker for two platforms", Results{Outputs: []string{"type=docker,dest=x"}}, 2, "docker load takes one platform, and 2 are built; want type=oci"},
		{"load for two platforms", Results{Load: true}, 2, "input load: docker load takes one platform"},
		{"name", Results{Outputs: []string{"type=oci,dest=x,name=UPPER"}}, 1, `attribute name: "UPPER" is not an image reference`},
		{"tag", Results{Tags: []string{"acme/app:"}}, 1, `input tags: "acme/app:" is not an image reference`},
		{"tag with a digest", Results{Tags: []string{"a@sha256:" + strings.Repeat("0", 64)}}, 1, "has a digest, which is not for us to choose"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseOutputs(tc.in, tc.platforms, around(t.TempDir()))
			if err == nil || !strings.Contains(err.Error(), tc.want) || fault.Code(err) != fault.ExitUsage {
				t.Errorf("error %v, want a usage error with %q", err, tc.want)
			}
		})
	}
}

func TestWhatOtherStepsDoIsSaid(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Results
		want []string
	}{
		{"push", Results{Push: true, Tags: []string{"ghcr.io/acme/app:1", "ghcr.io/acme/app", "acme/app:1"}},
			[]string{"imagewright-push --images=ghcr.io/acme/app --tags=1 --tags=latest && imagewright-push --images=docker.io/acme/app --tags=1"}},
		{"the same tags in two places", Results{Push: true, Tags: []string{"ghcr.io/acme/app:1", "quay.io/acme/app:1"}},
			[]string{"input push: build has no right to push; this pushes the image: imagewright-push --images=ghcr.io/acme/app --images=quay.io/acme/app --tags=1"}},
		{"push of no name", Results{Push: true}, []string{"imagewright-push --images=REPOSITORY"}},
		{"an output that pushes", Results{Outputs: []string{"type=image,name=ghcr.io/acme/app:2,push=true"}}, []string{"input outputs: build has no right to push", "--images=ghcr.io/acme/app --tags=2"}},
		{"registry", Results{Outputs: []string{"type=registry"}, Tags: []string{"ghcr.io/acme/app:2"}}, []string{"--images=ghcr.io/acme/app --tags=2"}},
		{"by digest", Results{Outputs: []string{"type=image,push-by-digest=true,name-canonical=true,push=true"}}, []string{"imagewright-build merge --sources"}},
		{"image", Results{Outputs: []string{"type=image"}}, []string{"the image lands in the workspace's layout"}},
		{"load", Results{Load: true}, []string{"docker load --input .imagewright/docker.tar"}},
		{"docker without a file", Results{Outputs: []string{"type=docker"}}, []string{"docker load --input .imagewright/docker.tar"}},
		{"nothing", Results{Outputs: []string{"type=oci,dest=x"}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, _ := parsed(t, tc.in)
			said := strings.Join(o.warnings(), "\n")
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("it says %q; want %q in it", said, want)
				}
			}
			if tc.want == nil && said != "" {
				t.Errorf("it says %q; want nothing", said)
			}
		})
	}
}

func TestOutputsStayWhereTheyBelong(t *testing.T) {
	outside := t.TempDir()
	for _, tc := range []struct {
		name, record, fails string
	}{
		{"a new directory", "type=local,dest=a/b", ""},
		{"a link within the checkout", "type=local,dest=inner", ""},
		{"a link that the file replaces", "type=oci,dest=file-link", ""},
		{"outside by the user's own word", "type=oci,dest=" + outside + "/x.tar", ""},
		{"a link out", "type=local,dest=outer", "outer leads out of the checkout through a symbolic link"},
		{"below a link out", "type=oci,dest=outer/new/x.tar", "outer/new/x.tar leads out of the checkout"},
		{"a link to nothing", "type=local,dest=nowhere/x", "nowhere is a symbolic link to nothing"},
		{"a file for a directory", "type=local,dest=file", "file is a file; a directory is wanted"},
		{"a directory for a file", "type=tar,dest=dir", "dir is a directory; a file is wanted"},
		{"the layout", "type=oci,dest=.imagewright/image/x.tar", "belongs to the workspace"},
		{"the records, through a link", "type=local,dest=records", "belongs to the workspace"},
		{"around the workspace", "type=local,dest=.", "holds the workspace .imagewright"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := checkout(t, map[string]string{"file": "", "dir/x": "", ".imagewright/record/x": ""})
			for name, target := range map[string]string{"inner": "dir", "outer": outside, "nowhere": "/does/not/exist", "file-link": "/etc/passwd", "records": ".imagewright/record"} {
				if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := parseOutputs(Results{Outputs: []string{tc.record}}, 1, around(dir))
			if tc.fails == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails) || fault.Code(err) != fault.ExitUsage) {
				t.Errorf("error %v, want a usage error with %q", err, tc.fails)
			}
		})
	}
}

// BuildKit closes an archive also when the build fails in the middle of it.
func TestAnArchiveOfAFailedBuildHasNoName(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*outputs) error
		want string
	}{
		{"failed", func(o *outputs) error { o.discard(); return nil }, "old"},
		{"done", func(o *outputs) error { return o.write(t.Context(), nil, v1None) }, "new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, dir := parsed(t, Results{Outputs: []string{"type=tar,dest=files.tar"}})
			path := filepath.Join(dir, "files.tar")
			if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			entries, err := o.exports(time.Unix(0, 0), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			w, err := entries[0].Output(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "new"); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := tc.end(o); err != nil {
				t.Fatal(err)
			}
			o.discard() // as a caller always does in the end
			files, err := os.ReadDir(dir)
			if err != nil || len(files) != 1 {
				t.Errorf("the directory holds %v, %v; want files.tar alone", files, err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != tc.want {
				t.Errorf("files.tar is %q, %v; want %q", text, err, tc.want)
			}
		})
	}
}

// A directory of root's would break the next checkout of a runner's user.
func TestDirectoriesMadeOnTheWayAreHandedOver(t *testing.T) {
	o, dir := parsed(t, Results{Outputs: []string{"type=oci,dest=a/b/image.tar", "type=local,dest=a/files", "type=oci,dest=-"}})
	if err := o.mkdir(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := o.handOver(func(path string) error { got = append(got, strings.TrimPrefix(path, dir)); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/a", "/a/b/image.tar", "/a/files"}, got); diff != "" {
		t.Errorf("handed over (-want +got):\n%s", diff)
	}
}
