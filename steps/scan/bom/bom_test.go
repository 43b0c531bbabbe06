package bom

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/package-url/packageurl-go"
)

// scanned is a report of an image with two packages and a finding in one.
func scanned(t *testing.T) types.Report {
	t.Helper()
	layer := ftypes.Layer{Digest: "sha256:" + strings.Repeat("a", 64), DiffID: "sha256:" + strings.Repeat("b", 64)}
	purl := func(s string) ftypes.PkgIdentifier {
		p, err := packageurl.FromString(s)
		if err != nil {
			t.Fatal(err)
		}
		return ftypes.PkgIdentifier{PURL: &p, UID: s}
	}
	return types.Report{
		SchemaVersion: 2,
		CreatedAt:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		ArtifactName:  "ghcr.io/acme/hello:v1",
		ArtifactType:  ftypes.TypeContainerImage,
		Metadata: types.Metadata{
			OS: &ftypes.OS{Family: ftypes.Debian, Name: "12.5"}, ImageID: "sha256:" + strings.Repeat("c", 64), DiffIDs: []string{layer.DiffID},
			RepoDigests: []string{"ghcr.io/acme/hello@sha256:" + strings.Repeat("d", 64)},
			ImageConfig: v1.ConfigFile{Config: v1.Config{Labels: map[string]string{"a": "1", "b": "2", "c": "3"}}},
		},
		Results: types.Results{
			{Target: "ghcr.io/acme/hello:v1 (debian 12.5)", Class: types.ClassOSPkg, Type: ftypes.Debian, Packages: []ftypes.Package{
				{ID: "zlib1g@1:1.2.13.dfsg-1", Name: "zlib1g", Version: "1.2.13.dfsg", Release: "1", Epoch: 1, SrcName: "zlib", SrcVersion: "1.2.13.dfsg", Licenses: []string{"Zlib"},
					Layer: layer, Identifier: purl("pkg:deb/debian/zlib1g@1.2.13.dfsg-1?arch=amd64&distro=debian-12.5&epoch=1")},
			}, Vulnerabilities: []types.DetectedVulnerability{{VulnerabilityID: "CVE-2023-45853", PkgName: "zlib1g", PkgIdentifier: purl("pkg:deb/debian/zlib1g@1.2.13.dfsg-1"),
				Vulnerability: dbtypes.Vulnerability{Title: "zlib"}}}},
			{Target: "Python", Class: types.ClassLangPkg, Type: ftypes.PythonPkg, Packages: []ftypes.Package{
				{Name: "PyYAML", Version: "5.3", FilePath: "usr/lib/PyYAML-5.3.dist-info/METADATA", Layer: layer, Identifier: purl("pkg:pypi/pyyaml@5.3"), Licenses: []string{"MIT", "\x1b|own words"}},
			}},
			{Target: "/app/.env", Class: types.ClassSecret, Secrets: []types.DetectedSecret{{RuleID: "aws-access-key-id", Match: "key=****"}}},
		},
	}
}

func TestAnSBOMListsPackagesAndNothingElse(t *testing.T) {
	for format, marks := range map[string][]string{
		CycloneDX: {`"specVersion": "1.6"`, `"bomFormat": "CycloneDX"`, `"timestamp": "2026-01-02T03:04:05+00:00"`},
		SPDX:      {`"spdxVersion": "SPDX-2.3"`, `"created": "2026-01-02T03:04:05Z"`, `"Tool: imagewright-scan-dev"`},
	} {
		t.Run(format, func(t *testing.T) {
			data, err := Render(t.Context(), format, scanned(t))
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(data) {
				t.Fatalf("no JSON:\n%s", data)
			}
			for _, want := range append(marks, "pkg:deb/debian/zlib1g@1.2.13.dfsg-1", "pkg:pypi/pyyaml@5.3", "ghcr.io/acme/hello:v1", "imagewright-scan") {
				if !strings.Contains(string(data), want) {
					t.Errorf("it lacks %s:\n%s", want, data)
				}
			}
			for _, not := range []string{"CVE-2023-45853", "aws-access-key-id", ".env"} {
				if strings.Contains(string(data), not) {
					t.Errorf("it has %s, which is no package:\n%s", not, data)
				}
			}
			if dir := os.Getenv("REPORT_OUT"); dir != "" { // to hold it against the published schema by hand
				if err := os.WriteFile(filepath.Join(dir, format+".json"), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestTheSameReportIsTheSameSBOM(t *testing.T) {
	for _, format := range Formats() {
		var seen []string
		for range 5 { // maps come in another order each time
			data, err := Render(t.Context(), format, scanned(t))
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, string(data))
		}
		if len(slices.Compact(seen)) != 1 {
			t.Errorf("%s of one report differs from time to time", format)
		}
	}
	later := scanned(t)
	later.CreatedAt = later.CreatedAt.Add(time.Hour)
	first, err := Render(t.Context(), SPDX, scanned(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Render(t.Context(), SPDX, later)
	if err != nil {
		t.Fatal(err)
	}
	if namespace(t, first) == namespace(t, second) {
		t.Error("two documents have one namespace")
	}
}

func namespace(t *testing.T, data []byte) string {
	t.Helper()
	var doc struct{ DocumentNamespace string }
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.DocumentNamespace
}

func TestAnUnknownFormatIsNamed(t *testing.T) {
	if _, err := Render(t.Context(), "spdx", scanned(t)); err == nil || !strings.Contains(err.Error(), `"spdx"`) {
		t.Errorf("error %v; want the format's name", err)
	}
}
