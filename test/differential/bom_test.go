package differential

import (
	"path/filepath"
	"strings"
	"testing"
)

// bomFixtures ship lists of what they hold: SBOMs of other tools, and those of
// Bitnami's images.
func bomFixtures(src sources) []fixture {
	sbom := func(path string) string { return filepath.Join(src.trivy, "pkg", "sbom", filepath.FromSlash(path)) }
	analyzer := src.analyzer("sbom")
	integration := filepath.Join(src.trivy, "integration", "testdata", "fixtures", "sbom")
	base := func() *layer { return alpine("3.18.3", apk("libssl3", "3.1.2-r0", "openssl")) }
	// all adds the SBOMs of a folder, each under a name that says what it is.
	all := func(t *testing.T, dir, suffix, prefix string) []*layer {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no SBOM in %s (%v)", dir, err)
		}
		layers := []*layer{base()}
		for _, file := range files {
			if strings.HasPrefix(filepath.Base(file), "third-party-bom") {
				continue // has packages of bom.json; which of two counts, Trivy leaves to chance
			}
			name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".json"), suffix)
			layers = append(layers, run("COPY "+name).file(t, prefix+name+suffix+".json", file))
		}
		return layers
	}
	alone := func(name, file string) fixture {
		return fixture{name: name, layers: func(t *testing.T) []*layer {
			return []*layer{base(), run("COPY").file(t, "srv/bom.cdx.json", file)}
		}}
	}
	const bitnami = "opt/bitnami/"
	return []fixture{
		{name: "bom-cyclonedx", layers: func(t *testing.T) []*layer {
			return all(t, sbom("cyclonedx/testdata/happy"), ".cdx", "usr/share/sbom/")
		}},
		{name: "bom-spdx", layers: func(t *testing.T) []*layer { return all(t, sbom("spdx/testdata/happy"), ".spdx", "usr/share/sbom/") }},
		alone("bom-third-party", filepath.Join(sbom("cyclonedx/testdata/happy"), "third-party-bom.json")),
		alone("bom-third-party-no-os", filepath.Join(sbom("cyclonedx/testdata/happy"), "third-party-bom-no-os.json")),
		{name: "bom-artifacts", layers: func(t *testing.T) []*layer {
			return []*layer{base(), run("COPY").
				file(t, "srv/bom.cdx.json", filepath.Join(src.trivy, "pkg", "fanal", "artifact", "sbom", "testdata", "bom.json")).
				file(t, "srv/missing-refs.cdx", filepath.Join(src.trivy, "pkg", "fanal", "artifact", "sbom", "testdata", "bom-missing-refs.json")).
				file(t, "srv/image.cdx.json", filepath.Join(src.trivy, "pkg", "fanal", "artifact", "image", "testdata", "cyclonedx.json"))}
		}},
		{name: "bom-bitnami", quick: true, layers: func(t *testing.T) []*layer {
			return []*layer{
				run("ADD minideb").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")),
				run("RUN install_packages").file(t, bitnami+"postgresql/.spdx-postgresql.spdx", filepath.Join(analyzer, "postgresql.spdx.json")).
					file(t, bitnami+"elasticsearch/.spdx-elasticsearch.spdx", filepath.Join(analyzer, "elasticsearch.spdx.json")),
				run("RUN more").file(t, bitnami+"common/.spdx-ca-certificates.spdx", filepath.Join(analyzer, "ca-certificates.spdx.json")),
			}
		}},
		{name: "bom-replaced", layers: func(t *testing.T) []*layer {
			return []*layer{
				base(),
				run("COPY one").file(t, "usr/share/a.cdx.json", filepath.Join(analyzer, "cdx.json")).file(t, "usr/share/b.spdx.json", filepath.Join(analyzer, "sbom-without-app-component.spdx.json")),
				run("COPY two").file(t, "usr/share/a.cdx.json", filepath.Join(sbom("cyclonedx/testdata/happy"), "bom.json")),
				run("RUN rm").remove("usr/share/b.spdx.json"),
			}
		}},
		{name: "bom-centos", archive: true, layers: func(t *testing.T) []*layer {
			return []*layer{
				run("ADD centos").text("etc/centos-release", "CentOS Linux release 7.6.1810 (Core)\n"),
				run("COPY one").file(t, "root/centos-7.cdx.json", filepath.Join(integration, "centos-7-cyclonedx.json")),
				run("COPY two").file(t, "root/fluentd.cdx.json", filepath.Join(integration, "fluentd-multiple-lockfiles-cyclonedx.json")).
					file(t, "root/license.cdx.json", filepath.Join(integration, "license-cyclonedx.json")),
			}
		}},
		{name: "bom-centos-spdx", layers: func(t *testing.T) []*layer {
			return []*layer{run("ADD centos").text("etc/centos-release", "CentOS Linux release 7.6.1810 (Core)\n").file(t, "root/centos-7.spdx.json", filepath.Join(integration, "centos-7-spdx.json")), run("COPY").file(t, "root/centos-7.spdx", filepath.Join(integration, "centos-7-spdx.txt"))}
		}},
		{name: "bom-no-distribution", nothing: true, layers: func(t *testing.T) []*layer {
			return []*layer{run("COPY").file(t, "root/centos-7.spdx.json", filepath.Join(integration, "centos-7-spdx.json"))}
		}},
		{name: "broken-bom-of-two", layers: func(*testing.T) []*layer {
			return []*layer{base(), run("COPY").text("sbom.cdx.json", `{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[`+
				`{"bom-ref":"1","type":"library","name":"zlib1g","version":"1:1.2.13.dfsg-1","purl":"pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1"},`+
				`{"bom-ref":"2","type":"library","name":"libssl3","version":"3.1.2-r0","purl":"pkg:apk/alpine/libssl3@3.1.2-r0"}]}`)}
		}},
		// What the package manager and an SBOM both know.
		{name: "bom-and-packages", layers: func(t *testing.T) []*layer {
			return []*layer{
				base().text("usr/lib/node_modules/lodash/package.json", nodePackage("lodash", "4.17.20")),
				run("COPY").text("sbom.cdx.json", `{"bomFormat":"CycloneDX","specVersion":"1.5","serialNumber":"urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79","version":1,"metadata":{"component":{"bom-ref":"root","type":"container","name":"app"}},"components":[`+
					`{"bom-ref":"os","type":"operating-system","name":"alpine","version":"3.18.3"},`+
					`{"bom-ref":"pkg:apk/alpine/libssl3@3.1.2-r0?arch=x86_64","type":"library","name":"libssl3","version":"3.1.2-r0","purl":"pkg:apk/alpine/libssl3@3.1.2-r0?arch=x86_64&distro=3.18.3","properties":[{"name":"aquasecurity:trivy:SrcName","value":"openssl"},{"name":"aquasecurity:trivy:SrcVersion","value":"3.1.2-r0"}]},`+
					`{"bom-ref":"pkg:npm/lodash@4.17.20","type":"library","name":"lodash","version":"4.17.20","purl":"pkg:npm/lodash@4.17.20"},`+
					`{"bom-ref":"pkg:pub/http@0.13.0","type":"library","name":"http","version":"0.13.0","purl":"pkg:pub/http@0.13.0"},`+
					`{"bom-ref":"pkg:hex/phoenix@1.6.0","type":"library","name":"phoenix","version":"1.6.0","purl":"pkg:hex/phoenix@1.6.0"},`+
					`{"bom-ref":"pkg:swift/github.com/apple/swift-nio@2.40.0","type":"library","name":"github.com/apple/swift-nio","version":"2.40.0","purl":"pkg:swift/github.com/apple/swift-nio@2.40.0"},`+
					`{"bom-ref":"pkg:golang/golang.org/x/net@0.16.0","type":"library","name":"golang.org/x/net","version":"0.16.0","purl":"pkg:golang/golang.org/x/net@0.16.0"}]}`),
			}
		}},
	}
}
