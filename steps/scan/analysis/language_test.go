package analysis

import (
	"slices"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

const (
	rake = `# -*- encoding: utf-8 -*-
# stub: rake 13.0.6 ruby lib

Gem::Specification.new do |s|
  s.name = "rake".freeze
  s.version = "13.0.6"
  s.licenses = ["MIT".freeze]
end
`
	numpy    = `{"build": "py38_0", "license": "BSD-3-Clause", "name": "numpy", "version": "1.19.2", "files": ["lib/a.so"]}`
	depsJSON = `{
  "runtimeTarget": {"name": ".NETCoreApp,Version=v6.0", "signature": ""},
  "targets": {".NETCoreApp,Version=v6.0": {
    "app/1.0.0": {"dependencies": {"Newtonsoft.Json": "12.0.1", "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64": "6.0.1"}, "runtime": {"app.dll": {}}},
    "Newtonsoft.Json/12.0.1": {"runtime": {"lib/netstandard2.0/Newtonsoft.Json.dll": {}}},
    "Analyzer/2.0.0": {},
    "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/6.0.1": {"runtime": {"a.dll": {}}}
  }},
  "libraries": {
    "app/1.0.0": {"type": "project"},
    "Newtonsoft.Json/12.0.1": {"type": "package"},
    "Analyzer/2.0.0": {"type": "package"},
    "Framework/4.0.0": {"type": "reference"},
    "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/6.0.1": {"type": "runtimepack"}
  }
}`
	nugetLock = `{"version": 1, "dependencies": {"net6.0": {
  "Newtonsoft.Json": {"type": "Direct", "requested": "[12.0.3, )", "resolved": "12.0.3", "contentHash": "abc"},
  "NuGet.Frameworks": {"type": "Transitive", "resolved": "5.7.0", "dependencies": {"Newtonsoft.Json": "12.0.3"}},
  "mine": {"type": "Project"}
}}}`
	nugetConfig = `<?xml version="1.0" encoding="utf-8"?>
<packages>
  <package id="jQuery" version="3.1.1" targetFramework="net46" />
  <package id="xunit" version="2.4.1" developmentDependency="true" />
</packages>`
	nugetProps = `<Project><ItemGroup>
  <PackageVersion Include="Serilog" Version="2.10.0" />
  <PackageReference Update="Moq" Version="4.16.1" />
  <PackageVersion Include="Later" Version="$(LaterVersion)" />
</ItemGroup></Project>`
	composerPackages = `[{"name": "guzzlehttp/guzzle", "version": "7.4.4", "license": ["MIT"], "require": {"php": "^7.2.5", "guzzlehttp/psr7": "^1.9"}},
  {"name": "guzzlehttp/psr7", "version": "1.8.3"}]`
)

func TestLayerFindsWhatPackageManagersOfLanguagesInstalled(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files []file
		want  []string
	}{
		{"gems, by what RubyGems wrote", []file{
			{path: "usr/local/bundle/specifications/rake-13.0.6.gemspec", content: rake},
			{path: "usr/local/bundle/specifications/default/rake-13.0.6.gemspec", content: rake},
			{path: "specifications/rake-13.0.6.gemspec", content: rake}, // not below a directory
			{path: "usr/local/bundle/gems/rake-13.0.6/rake.gemspec", content: "version = read"},
		}, []string{
			"gemspec usr/local/bundle/specifications/default/rake-13.0.6.gemspec rake@13.0.6",
			"gemspec usr/local/bundle/specifications/rake-13.0.6.gemspec rake@13.0.6",
		}},
		{"Conda packages of an environment, not the base's", []file{
			{path: "opt/conda/envs/web/conda-meta/numpy-1.19.2-py38_0.json", content: numpy},
			{path: "opt/conda/conda-meta/numpy-1.19.2-py38_0.json", content: numpy},
			{path: "opt/conda/envs/web/conda-meta/state.json", content: "{"},
		}, []string{"conda-pkg opt/conda/envs/web/conda-meta/numpy-1.19.2-py38_0.json numpy@1.19.2"}},
		{"libraries of a .NET program that run", []file{{path: "app/app.deps.json", content: depsJSON}}, []string{
			"dotnet-core app/app.deps.json Microsoft.NETCore.App.Runtime.linux-x64@6.0.1",
			"dotnet-core app/app.deps.json Newtonsoft.Json@12.0.1",
			"dotnet-core app/app.deps.json app@1.0.0",
		}},
		{"NuGet's three lists", []file{
			{path: "src/packages.lock.json", content: nugetLock},
			{path: "src/packages.config", content: nugetConfig},
			{path: "src/Directory.Packages.props", content: nugetProps},
		}, []string{
			"nuget src/packages.config jQuery@3.1.1",
			"nuget src/packages.lock.json Newtonsoft.Json@12.0.3",
			"nuget src/packages.lock.json NuGet.Frameworks@5.7.0",
			"packages-props src/Directory.Packages.props Moq@4.16.1",
			"packages-props src/Directory.Packages.props Serilog@2.10.0",
		}},
		{"packages of both Composers", []file{
			{path: "a/vendor/composer/installed.json", content: `{"packages": ` + composerPackages + `, "packages-dev": [{"name": "phpunit/phpunit", "version": "9.5.0"}], "dev": true}`},
			{path: "b/vendor/composer/installed.json", content: "\n" + composerPackages},
		}, []string{
			"composer-vendor a/vendor/composer/installed.json guzzlehttp/guzzle@7.4.4",
			"composer-vendor a/vendor/composer/installed.json guzzlehttp/psr7@1.8.3",
			"composer-vendor b/vendor/composer/installed.json guzzlehttp/guzzle@7.4.4",
			"composer-vendor b/vendor/composer/installed.json guzzlehttp/psr7@1.8.3",
		}},
		{"Python's metadata in all places", []file{
			{path: "a/requests-2.19.1.dist-info/METADATA", content: requests},
			{path: "a/requests-2.19.1.dist-info/sboms/requests.cdx.json", content: "{"},
			{path: "a/requests-2.19.1.dist-info/RECORD", content: "x"},
			{path: "b/requests.egg/EGG-INFO/PKG-INFO", content: requests},
			{path: "c/requests.egg-info", content: requests},
			{path: "d/requests.egg-info/PKG-INFO", content: requests},
			{path: "e/requests.egg-info/METADATA", content: requests},
			{path: "f/METADATA", content: requests},
			{path: "g/requests.egg", content: zipOf(t, "EGG-INFO/PKG-INFO", requests)},
		}, []string{
			"python-pkg a/requests-2.19.1.dist-info/METADATA requests@2.19.1",
			"python-pkg b/requests.egg/EGG-INFO/PKG-INFO requests@2.19.1",
			"python-pkg c/requests.egg-info requests@2.19.1",
			"python-pkg d/requests.egg-info/PKG-INFO requests@2.19.1",
			"python-pkg e/requests.egg-info/METADATA requests@2.19.1",
			"python-pkg g/requests.egg requests@2.19.1",
		}},
		{"no lock file of the others", []file{
			{path: "app/go.mod", content: "module x\n\nrequire golang.org/x/net v0.1.0\n"},
			{path: "app/package-lock.json", content: "{"}, {path: "app/yarn.lock", content: "?"}, {path: "app/pom.xml", content: "<"},
			{path: "app/Gemfile.lock", content: "?"}, {path: "app/composer.lock", content: "{"}, {path: "app/poetry.lock", content: "?"},
			{path: "app/environment.yml", content: "name: x\ndependencies:\n- python=3.8\n"},
		}, nil},
		{"of a path that is there twice, the later", []file{
			{path: "a/package.json", content: `{"name":"a","version":"1.0.0"}`},
			{path: "b/package.json", content: `{"name":"b","version":"1.0.0"}`},
			{path: "a/package.json", content: `{"name":"a","version":"2.0.0"}`},
		}, []string{"node-pkg a/package.json a@2.0.0", "node-pkg b/package.json b@1.0.0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.files...)
			if diff := cmp.Diff(tc.want, found(r)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if len(r.Problems) > 0 {
				t.Errorf("problems with good files: %v", r.Problems)
			}
		})
	}
}

// A package has the path of its file where the file describes it alone, and none
// where the file is a list: reports show it so.
func TestPackagesOfAListHaveNoPathOfTheirOwn(t *testing.T) {
	r := analysed(t, Options{},
		file{path: "a/specifications/rake.gemspec", content: rake},
		file{path: "a/x.deps.json", content: depsJSON},
		file{path: "a/Cargo.lock", content: cargoLock},
		file{path: "a/envs/x/conda-meta/numpy-1.19.2-py38_0.json", content: numpy},
		file{path: "a/packages.lock.json", content: nugetLock},
	)
	for _, app := range r.Applications {
		want := ""
		if slices.Contains(ftypes.AggregatingTypes, app.Type) {
			want = app.FilePath
		}
		for _, p := range app.Packages {
			if p.FilePath != want {
				t.Errorf("%s package %s: file %q, want %q", app.Type, p.Name, p.FilePath, want)
			}
			if p.AnalyzedBy == "" {
				t.Errorf("%s package %s: nobody found it", app.Type, p.Name)
			}
		}
	}
	if len(r.Applications) != 5 {
		t.Errorf("applications %v", found(r))
	}
}

func TestBrokenListsOfLanguagesAreProblems(t *testing.T) {
	for _, tc := range []struct {
		name     string
		file     file
		analyzer string
		reason   string // part of it
	}{
		{"a gem without a version", file{path: "a/specifications/x.gemspec", content: "Gem::Specification.new do |s|\n s.name = \"x\"\n"}, nameGem, "gemspec"},
		{"a gem of too many lines", file{path: "a/specifications/x.gemspec", content: strings.Repeat("\n", maxGemLines+1)}, nameGem, "lines"},
		{"a Conda package without a name", file{path: "a/envs/b/conda-meta/x-1-0.json", content: "{}"}, nameConda, "conda"},
		{"a .deps.json that is none", file{path: "a.deps.json", content: "["}, nameDotNet, "decode"},
		{"a packages.lock.json that is none", file{path: "packages.lock.json", content: `{"dependencies":[]}`}, nameNuGet, "decode"},
		{"a version that is copied too often", file{path: "packages.lock.json", content: `{"a":"` + strings.Repeat("x", 2000) + `"}`}, nameNuGet, "a string of"},
		{"a packages.config that is none", file{path: "packages.config", content: "<packages>"}, nameNuGet, "decode"},
		{"too many tags", file{path: "packages.config", content: strings.Repeat("<", 100_001)}, nameNuGet, "tags"},
		{"a packages.props that is none", file{path: "packages.props", content: "?"}, nameProps, "decode"},
		{"an installed.json that is none", file{path: "installed.json", content: `["a"]`}, nameComposer, "decode"},
		{"JSON without end", file{path: "package.json", content: `{"workspaces":` + strings.Repeat("[", 101)}, nameNode, "deep"},
		{"JSON of nothing but objects", file{path: "installed.json", content: "[" + strings.Repeat("{},", 1<<19)}, nameComposer, "values"},
		{"a Cargo.lock that is none", file{path: "Cargo.lock", content: "[[package"}, nameCargo, "decode"},
		{"a Cargo.lock without end", file{path: "Cargo.lock", content: "a = " + strings.Repeat("[", 1000)}, nameCargo, "deep"},
		{"a Manifest.toml that is none", file{path: "Manifest.toml", content: "="}, nameJulia, "decode"},
		{"a Manifest.toml without end", file{path: "Manifest.toml", content: strings.Repeat("a.", 1000) + "a = 1"}, nameJulia, "deep"},
		{"metadata of nothing but a licence", file{path: "x.dist-info/METADATA", content: "Name: x\nVersion: 1\nLicense: " + strings.Repeat("a or\n ", 30_000)}, namePython, "licences"},
		{"metadata of too many lines", file{path: "x.egg-info", content: strings.Repeat("A: b\n", maxHeaderLines+1)}, namePython, "header"},
		{"metadata of one line", file{path: "x.egg-info", content: strings.Repeat("A", maxHeader+1)}, namePython, "line"},
		{"an egg whose metadata is no metadata", file{path: "x.egg", content: zipOf(t, "EGG-INFO/PKG-INFO", "")}, nameEgg, "version"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.file)
			if len(r.Problems) != 1 || r.Problems[0].Analyzer != tc.analyzer || !strings.Contains(r.Problems[0].Reason, tc.reason) {
				t.Fatalf("problems %v; want one of %s about %q", r.Problems, tc.analyzer, tc.reason)
			}
			tc.file.path = "app/tests/" + tc.file.path
			r = analysed(t, Options{}, tc.file)
			if tooMuch := strings.Contains(tc.reason, "too"); len(r.Problems) > 0 && !strings.Contains(r.Problems[0].Reason, errTooLarge.Error()) && !tooMuch {
				t.Errorf("a broken file for tests is a problem: %v", r.Problems)
			}
		})
	}
}

// The distribution's package speaks for what it installed, in every language.
func TestProblemsWithInstalledFilesAreTheDistributions(t *testing.T) {
	broken := []string{"x/specifications/x.gemspec", "a.deps.json", "packages.lock.json", "packages.props", "installed.json",
		"Cargo.lock", "Manifest.toml", "x.dist-info/METADATA", "x.cdx.json", "package.json", "x.egg", "x.jar"}
	var list strings.Builder
	var files []file
	for _, p := range broken {
		files = append(files, file{path: "usr/lib/" + p, content: "?"})
		list.WriteString("0  usr/lib/" + p + "\n")
	}
	r := analysed(t, Options{}, files...)
	if len(r.Problems) != len(broken) {
		t.Errorf("%d problems, want one a file: %v", len(r.Problems), r.Problems)
	}
	files = append(files,
		file{path: "var/lib/dpkg/status", content: testdata(t, "dpkg-status")},
		file{path: "var/lib/dpkg/info/libc6.md5sums", content: list.String()})
	if r = analysed(t, Options{}, files...); len(r.Problems) > 0 {
		t.Errorf("problems with what a package installed: %v", r.Problems)
	}
}
