package analysis

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

const (
	cycloneDX = `{
  "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
  "metadata": {"component": {"bom-ref": "root", "type": "container", "name": "acme"}},
  "components": [
    {"bom-ref": "os", "type": "operating-system", "name": "debian", "version": "12"},
    {"bom-ref": "deb", "type": "library", "name": "libc6", "version": "2.36-9", "purl": "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"},
    {"bom-ref": "app", "type": "application", "name": "app/Cargo.lock", "properties": [{"name": "aquasecurity:trivy:Type", "value": "cargo"}]},
    {"bom-ref": "crate", "type": "library", "name": "regex", "version": "1.5.4", "purl": "pkg:cargo/regex@1.5.4"},
    {"bom-ref": "npm", "type": "library", "group": "@babel", "name": "core", "version": "7.0.0", "purl": "pkg:npm/%40babel/core@7.0.0"},
    {"bom-ref": "wheel", "type": "library", "name": "requests", "version": "2.19.1", "purl": "pkg:pypi/requests@2.19.1",
     "properties": [{"name": "aquasecurity:trivy:FilePath", "value": "a/requests-2.19.1.dist-info/METADATA"}]},
    {"bom-ref": "none", "type": "library", "name": "nameless", "version": "1"}
  ],
  "dependencies": [{"ref": "os", "dependsOn": ["deb"]}, {"ref": "app", "dependsOn": ["crate"]}]
}`
	spdxTagValue = `SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: acme
DocumentNamespace: https://example.com/acme
Creator: Tool: example-1
Created: 2024-01-01T00:00:00Z

PackageName: rails
SPDXID: SPDXRef-Package-rails
PackageVersion: 6.1.0
PackageDownloadLocation: NONE
FilesAnalyzed: false
ExternalRef: PACKAGE-MANAGER purl pkg:gem/rails@6.1.0
`
)

// spdxJSON is an SPDX document of packages, given as name, version and purl.
func spdxJSON(packages ...string) string {
	var list []string
	for i := 0; i < len(packages); i += 3 {
		list = append(list, fmt.Sprintf(`{"SPDXID": "SPDXRef-Package-%d", "name": %q, "versionInfo": %q, "downloadLocation": "NONE",
  "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": %q}]}`, i, packages[i], packages[i+1], packages[i+2]))
	}
	return `{"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3", "name": "acme", "documentNamespace": "https://example.com/acme",
  "creationInfo": {"created": "2024-01-01T00:00:00Z", "creators": ["Tool: example-1"]}, "packages": [` + strings.Join(list, ",") + `]}`
}

// signed puts an SBOM into an in-toto statement in an envelope.
func signed(predicateType, predicate string) string {
	statement := fmt.Sprintf(`{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": %q, "predicate": %s}`, predicateType, predicate)
	return fmt.Sprintf(`{"payloadType": "application/vnd.in-toto+json", "payload": %q, "signatures": []}`, base64.StdEncoding.EncodeToString([]byte(statement)))
}

func TestLayerReadsTheSBOMsInIt(t *testing.T) {
	rails := spdxJSON("rails", "6.1.0", "pkg:gem/rails@6.1.0")
	wantCycloneDX := func(p string) []string {
		return []string{
			"cargo app/Cargo.lock regex@1.5.4", "node-pkg " + p + " @babel/core@7.0.0", "os " + p + " libc6@2.36-9", "python-pkg " + p + " requests@2.19.1",
		}
	}
	for _, tc := range []struct {
		name string
		file file
		want []string
	}{
		{"CycloneDX", file{path: "usr/share/a.cdx.json", content: cycloneDX}, wantCycloneDX("usr/share/a.cdx.json")},
		{"CycloneDX by its short name", file{path: "a.cdx", content: cycloneDX}, wantCycloneDX("a.cdx")},
		{"CycloneDX, signed", file{path: "a.cdx.json", content: signed("https://cyclonedx.org/bom", cycloneDX)}, wantCycloneDX("a.cdx.json")},
		{"CycloneDX, signed by an old cosign", file{path: "a.cdx.json", content: signed("https://cyclonedx.org/schema", `{"Data":`+cycloneDX+`}`)}, wantCycloneDX("a.cdx.json")},
		{"CycloneDX in a bundle", file{path: "a.cdx.json", content: `{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": ` +
			signed("https://cyclonedx.org/bom", cycloneDX) + `}`}, wantCycloneDX("a.cdx.json")},
		{"SPDX", file{path: "a.spdx.json", content: rails}, []string{"gemspec a.spdx.json rails@6.1.0"}},
		{"SPDX, signed", file{path: "a.spdx.json", content: signed("https://spdx.dev/Document", rails)}, []string{"gemspec a.spdx.json rails@6.1.0"}},
		{"SPDX in a bundle", file{path: "a.spdx.json", content: `{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": ` +
			signed("https://spdx.dev/Document", rails) + `}`}, []string{"gemspec a.spdx.json rails@6.1.0"}},
		{"SPDX as tags and values", file{path: "a.spdx", content: spdxTagValue}, []string{"gemspec a.spdx rails@6.1.0"}},
		{"Wolfi's, one a package", file{path: "var/lib/db/sbom/zlib-1.3-r0.spdx.json", content: spdxJSON("zlib", "1.3-r0", "pkg:apk/wolfi/zlib@1.3-r0?arch=x86_64")},
			[]string{"os var/lib/db/sbom/zlib-1.3-r0.spdx.json zlib@1.3-r0"}},
		{"Bitnami's, in the directory of the component", file{path: "opt/bitnami/redis/.spdx-redis.spdx", content: spdxJSON("redis", "7.0.5", "pkg:bitnami/redis@7.0.5")},
			[]string{"bitnami opt/bitnami/redis redis@7.0.5"}},
		{"an index of a database, which is called so too", file{path: "a.cdx", content: "\x00\x01\x02"}, nil},
		{"JSON of another kind", file{path: "a.spdx.json", content: `{"@context": "https://spdx.org/rdf/3.0.0/spdx-context.jsonld"}`}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.file)
			if diff := cmp.Diff(tc.want, found(r)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if len(r.Problems) > 0 {
				t.Errorf("problems: %v", r.Problems)
			}
		})
	}
}

func TestBitnamisPathsStartAtTheComponent(t *testing.T) {
	bom := strings.Replace(cycloneDX, "a/requests-2.19.1", "lib/requests-2.19.1", 1)
	r := analysed(t, Options{}, file{path: "opt/bitnami/web/.spdx-web.cdx", content: bom})
	got := map[string]string{}
	for _, app := range r.Applications {
		for _, p := range app.Packages {
			got[p.Name] = p.FilePath
			if p.AnalyzedBy != nameBOM {
				t.Errorf("%s was found by %q", p.Name, p.AnalyzedBy)
			}
		}
	}
	want := map[string]string{"regex": "opt/bitnami/web", "@babel/core": "opt/bitnami/web", "requests": "opt/bitnami/web/lib/requests-2.19.1.dist-info/METADATA"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths of packages (-want +got):\n%s", diff)
	}
}

// What an SBOM says of a file is not found in the file again. It is where a
// package's file is looked into at once.
func TestAnSBOMSpeaksForTheFilesInIt(t *testing.T) {
	for _, after := range []bool{false, true} {
		files := []file{
			{path: "a/requests-2.19.1.dist-info/METADATA", content: requests},
			{path: "b/requests-2.19.1.dist-info/METADATA", content: requests},
			{path: "app/Cargo.lock", content: cargoLock},
		}
		files = slices.Insert(files, map[bool]int{false: 0, true: len(files)}[after], file{path: "x.cdx.json", content: cycloneDX})
		want := []string{"cargo app/Cargo.lock regex@1.5.4", "node-pkg x.cdx.json @babel/core@7.0.0", "os x.cdx.json libc6@2.36-9",
			"python-pkg b/requests-2.19.1.dist-info/METADATA requests@2.19.1", "python-pkg x.cdx.json requests@2.19.1"}
		if diff := cmp.Diff(want, found(analysed(t, Options{}, files...))); diff != "" {
			t.Errorf("with the SBOM after the files: %t: found (-want +got):\n%s", after, diff)
		}
	}
}

func TestBrokenSBOMsAreProblems(t *testing.T) {
	chain := func(n int) string {
		var components, dependencies []string
		for i := range n {
			components = append(components, fmt.Sprintf(`{"bom-ref":"%d","type":"library","name":"p%d","version":"1","purl":"pkg:npm/p%d@1"}`, i, i, i))
			dependencies = append(dependencies, fmt.Sprintf(`{"ref":"%d","dependsOn":["%d"]}`, i, i+1))
		}
		return `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"bom-ref":"os","type":"operating-system","name":"x"},` + strings.Join(components, ",") +
			`],"dependencies":[{"ref":"os","dependsOn":["0"]},` + strings.Join(dependencies, ",") + `]}`
	}
	for _, tc := range []struct {
		name   string
		file   file
		reason string
	}{
		{"cut off", file{path: "a.cdx.json", content: cycloneDX[:500]}, "no JSON"},
		{"an unknown version", file{path: "a.spdx.json", content: strings.Replace(spdxJSON(), "SPDX-2.3", "SPDX-9.9", 1)}, "SPDX-9.9"},
		{"a package URL that is none", file{path: "a.spdx.json", content: spdxJSON("a", "1", "?")}, "purl"},
		{"packages of two distributions", file{path: "a.spdx.json", content: spdxJSON("a", "1", "pkg:deb/debian/a@1", "b", "1", "pkg:rpm/fedora/b@1")}, "multiple types"},
		{"XML", file{path: "a.cdx", content: `<bom xmlns="http://cyclonedx.org/schema/bom/1.4"/>`}, "not read"},
		{"nothing at Bitnami", file{path: "opt/bitnami/x/.spdx-x.spdx", content: "?"}, "no SBOM"},
		{"too deep", file{path: "a.cdx.json", content: strings.Repeat("{\"a\":", 101)}, "deep"},
		{"too much", file{path: "a.cdx.json", content: `{"a":[` + strings.Repeat("{},", 100_000)}, "objects"},
		{"too much, signed", file{path: "a.cdx.json", content: signed("x", `[`+strings.Repeat("0,", 1<<20)+`0]`)}, "values"},
		{"too many lines", file{path: "a.spdx", content: "SPDXVersion: SPDX-2.3\n" + strings.Repeat("\n", maxBOMLines)}, "lines"},
		{"each on top of the other", file{path: "a.cdx.json", content: chain(3000)}, "without end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.file)
			if len(r.Problems) != 1 || r.Problems[0].Analyzer != nameBOM || !strings.Contains(r.Problems[0].Reason, tc.reason) {
				t.Errorf("problems %v; want one of %s about %q", r.Problems, nameBOM, tc.reason)
			}
		})
	}
	if r := analysed(t, Options{}, file{path: "a.cdx.json", content: chain(2000)}); len(r.Problems) > 0 || len(r.Applications) > 1 {
		t.Errorf("2,000 packages on top of each other: %v", r.Problems)
	}
}

// What Merge and other processes are given of an SBOM's package keeps its own
// identity.
func TestPackagesOfAnSBOMKeepTheirURL(t *testing.T) {
	r := analysed(t, Options{}, file{path: "a.spdx.json", content: spdxJSON("zlib", "1.3-r0", "pkg:apk/wolfi/zlib@1.3-r0?arch=x86_64")})
	if len(r.Packages) != 1 {
		t.Fatalf("found %v", found(r))
	}
	var p ftypes.Package = r.Packages[0].Packages[0]
	if got := p.Identifier.PURL; got == nil || got.String() != "pkg:apk/wolfi/zlib@1.3-r0?arch=x86_64" {
		t.Errorf("package URL %v", got)
	}
	if p.SrcName != "zlib" || p.SrcVersion != "1.3-r0" || p.AnalyzedBy != nameBOM {
		t.Errorf("package %+v", p)
	}
}
