package analysis

import (
	"fmt"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/package-url/packageurl-go"
)

func TestRedHatsLayersShareWhatTheirBuildSays(t *testing.T) {
	info := func(set string) *ftypes.BuildInfo { return &ftypes.BuildInfo{ContentSets: []string{set}} }
	layer := func(name string, b *ftypes.BuildInfo) *Result {
		return &Result{BuildInfo: b, Packages: []ftypes.PackageInfo{{FilePath: name, Packages: ftypes.Packages{{Name: name, Version: "1"}}}}}
	}
	for _, tc := range []struct {
		name   string
		layers []*Result
		want   map[string]*ftypes.BuildInfo
	}{
		{"its own", []*Result{layer("a", info("1")), layer("b", info("2"))}, map[string]*ftypes.BuildInfo{"a": info("1"), "b": info("2")}},
		{"the lowest has that above", []*Result{layer("a", nil), layer("b", info("2"))}, map[string]*ftypes.BuildInfo{"a": info("2"), "b": info("2")}},
		{"but only the one right above", []*Result{layer("a", nil), layer("b", nil), layer("c", info("3"))}, map[string]*ftypes.BuildInfo{"c": info("3")}},
		{"a user's layers have that below", []*Result{layer("a", nil), layer("b", info("2")), layer("c", nil), layer("d", nil)},
			map[string]*ftypes.BuildInfo{"a": info("2"), "b": info("2"), "c": info("2"), "d": info("2")}},
		{"one layer without", []*Result{layer("a", nil)}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, p := range mergedResults(t, tc.layers...).Packages {
				if diff := cmp.Diff(tc.want[p.Name], p.BuildInfo); diff != "" {
					t.Errorf("%s (-want +got):\n%s", p.Name, diff)
				}
			}
		})
	}
}

// mergedResults merges results that did not come out of a layer.
func mergedResults(t *testing.T, layers ...*Result) *Detail {
	t.Helper()
	config := &v1.ConfigFile{}
	for i, l := range layers {
		l.Version, l.DiffID = Version, v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(string(rune('a'+i)), 64)}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		config.History = append(config.History, v1.History{CreatedBy: "step " + string(rune('1'+i))})
	}
	d, err := Merge(layers, config, nil)
	if err != nil {
		t.Fatalf("Merge: %v", err)
	}
	return d
}

func TestPackagesOfABillOfMaterials(t *testing.T) {
	url := func(s string) *packageurl.PackageURL {
		u, err := packageurl.FromString(s)
		if err != nil {
			t.Fatal(err)
		}
		return &u
	}
	apk := func(by ftypes.AnalyzerType, src string, u *packageurl.PackageURL) ftypes.Package {
		return ftypes.Package{ID: "zlib@1", Name: "zlib", Version: "1", SrcName: src, AnalyzedBy: by, Identifier: ftypes.PkgIdentifier{PURL: u}}
	}
	at := ftypes.Layer{DiffID: "sha256:known"}
	known := apk("sbom", "", nil)
	known.ID, known.Name, known.Layer, known.BuildInfo, known.InstalledFiles = "known@1", "known", at, &ftypes.BuildInfo{Nvr: "x"}, []string{"f"}
	wolfi := []OSCandidate{{"etc/os-release", ftypes.OS{Family: ftypes.Wolfi, Name: "1"}}}
	packages := func(p string, pkgs ...ftypes.Package) ftypes.PackageInfo {
		return ftypes.PackageInfo{FilePath: p, Packages: pkgs}
	}
	for _, tc := range []struct {
		name  string
		layer Result
		want  []string // name, source and namespace
	}{
		{"the database's is kept", Result{OS: wolfi, Packages: []ftypes.PackageInfo{
			packages("a.spdx.json", apk("sbom", "", url("pkg:apk/wolfi/zlib@1"))), packages("lib/apk/db/installed", apk("apk", "zlib-ng", nil))}}, []string{"zlib zlib-ng wolfi"}},
		{"another distribution's is dropped", Result{OS: wolfi, Packages: []ftypes.PackageInfo{packages("a.spdx.json", apk("sbom", "", url("pkg:apk/alpine/zlib@1")))}}, nil},
		{"one without a namespace is kept", Result{OS: wolfi, Packages: []ftypes.PackageInfo{packages("a.spdx.json", apk("sbom", "", url("pkg:apk/zlib@1")))}}, []string{"zlib  "}},
		{"and all where the distribution is unknown", Result{Packages: []ftypes.PackageInfo{packages("a.spdx.json", apk("sbom", "", url("pkg:apk/alpine/zlib@1")))}}, []string{"zlib  alpine"}},
		{"what it says of layers stands", Result{OS: wolfi, BuildInfo: &ftypes.BuildInfo{Nvr: "y"}, Packages: []ftypes.PackageInfo{packages("a.spdx.json", known)}}, []string{"known  wolfi"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, p := range mergedResults(t, &tc.layer).Packages {
				namespace := ""
				if p.Identifier.PURL != nil {
					namespace = p.Identifier.PURL.Namespace
				}
				got = append(got, p.Name+" "+p.SrcName+" "+namespace)
				if p.Name == "known" && (p.Layer != at || p.BuildInfo.Nvr != "x" || len(p.InstalledFiles) != 1) {
					t.Errorf("package %+v lost what its bill of materials says", p)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsOfAllLayersAreKept(t *testing.T) {
	secret := func(p string, rules ...string) ftypes.Secret {
		s := ftypes.Secret{FilePath: p}
		for i, r := range rules {
			s.Findings = append(s.Findings, ftypes.SecretFinding{RuleID: r, StartLine: i + 1})
		}
		return s
	}
	layers := []*Result{
		{Secrets: []ftypes.Secret{secret("/b", "aws", "aws", "github"), secret("/a", "npm")}},
		{Whiteouts: []string{"a"}, Secrets: []ftypes.Secret{secret("/b", "github")}},
		{OpaqueDirs: []string{""}},
	}
	list := func(d *Detail) []string {
		var got []string
		for _, s := range d.Secrets {
			for _, f := range s.Findings {
				got = append(got, fmt.Sprintf("%s %s:%d %s", s.FilePath, f.RuleID, f.StartLine, f.Layer.CreatedBy))
				if f.Layer.DiffID == "" {
					t.Errorf("%s %s has no layer", s.FilePath, f.RuleID)
				}
			}
		}
		return got
	}
	want := []string{"/a npm:1 step 1", "/b github:1 step 2", "/b aws:1 step 1", "/b aws:2 step 1"}
	for range 2 { // merging must not change the results
		if diff := cmp.Diff(want, list(mergedResults(t, layers...))); diff != "" {
			t.Errorf("secrets (-want +got):\n%s", diff)
		}
	}
	if got := layers[0].Secrets[0].Findings[0].Layer; got != (ftypes.Layer{}) {
		t.Errorf("merging wrote %v into a layer's result", got)
	}
}

func TestDebiansLicensesCountAsLongAsTheirFile(t *testing.T) {
	status := file{path: dpkgStatus, content: "Package: a\nVersion: 1-1\n"}
	copyright := func(license string) file {
		return file{path: "usr/share/doc/a/copyright", content: "License: " + license + "\n"}
	}
	for _, tc := range []struct {
		name   string
		layers [][]file
		want   []string
	}{
		{"of the same layer", [][]file{{status, copyright("MIT")}}, []string{"MIT"}},
		{"of a later layer", [][]file{{status, copyright("MIT")}, {copyright("BSD-3-clause")}}, []string{"BSD-3-Clause"}},
		{"deleted", [][]file{{status, copyright("MIT")}, {{path: "usr/share/.wh.doc"}}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, merged(t, tc.layers...).Packages[0].Licenses); diff != "" {
				t.Errorf("licences (-want +got):\n%s", diff)
			}
		})
	}
}

// A system package that a later layer lists too keeps the files that hid what
// belongs to it.
func TestAPackageKeepsTheFilesOfItsFirstLayer(t *testing.T) {
	header := rpmPackageOf("x", rpmTag{tagVendor, "Fedora Project"}, rpmTag{tagDirIndexes, []uint32{0}}, rpmTag{tagBaseNames, []string{"f"}}, rpmTag{tagDirNames, []string{"/usr/"}})
	again := rpmPackageOf("x", rpmTag{tagVendor, "Fedora Project"})
	d := merged(t, []file{{path: "var/lib/rpm/Packages", content: string(ndbOf(header))}},
		[]file{{path: "var/lib/rpm/Packages", content: string(ndbOf(again, rpmPackageOf("y")))}})
	if len(d.Packages) != 2 || d.Packages[0].Layer.DiffID != d.Layers[0].DiffID || d.Packages[1].Layer.DiffID != d.Layers[1].DiffID {
		t.Fatalf("packages %v; want x of the first layer and y of the second", d.Packages)
	}
	if diff := cmp.Diff([]string{"/usr/f"}, d.Packages[0].InstalledFiles); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
