package detection

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aquasecurity/trivy/pkg/clock"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/steps/scan/analysis"
)

var (
	brought = ftypes.Layer{Digest: "sha256:aa", DiffID: "sha256:bb"}
	today   = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
)

func dpkg(name, source, version, release string) ftypes.Package {
	return ftypes.Package{
		ID: name + "@" + version + "-" + release, Name: name, Version: version, Release: release,
		SrcName: source, SrcVersion: version, SrcRelease: release, Arch: "amd64", Layer: brought,
	}
}

func library(kind ftypes.LangType, path, name, version string) ftypes.Application {
	return ftypes.Application{Type: kind, FilePath: path, Packages: ftypes.Packages{{ID: name + "@" + version, Name: name, Version: version, Layer: brought}}}
}

// findings lists vulnerabilities as "target: id package installed fixed
// severity by source, status".
func findings(results types.Results) []string {
	var list []string
	for _, r := range results {
		for _, v := range r.Vulnerabilities {
			//lint:ignore SA1019 it is the severity that Trivy's reports and gates go by
			list = append(list, fmt.Sprintf("%s: %s %s %s %q %s by %q, %s", r.Target, v.VulnerabilityID, v.PkgName, v.InstalledVersion, v.FixedVersion, v.Severity, v.SeveritySource, v.Status.String()))
		}
	}
	return list
}

func TestDetectFindsExactlyWhatTheDatabaseKnows(t *testing.T) {
	database := opened(t, advisories, vulnerabilities)
	for _, tc := range []struct {
		name   string
		detail analysis.Detail
		want   []string
	}{
		{"Debian: by source package, one severity of its own, one not to be fixed", analysis.Detail{
			OS: ftypes.OS{Family: ftypes.Debian, Name: "12.1"},
			Packages: ftypes.Packages{
				dpkg("libc6", "glibc", "2.36", "9+deb12u1"), dpkg("libc-bin", "glibc", "2.36", "9+deb12u3"), // fixed
				dpkg("zlib1g", "zlib", "1.2.13.dfsg", "1"), dpkg("tar", "tar", "1.34+dfsg", "1.2+deb12u1"), dpkg("sed", "sed", "4.9", "1"),
			}}, []string{
			`app (debian 12.1): CVE-2023-4911 libc6 2.36-9+deb12u1 "2.36-9+deb12u3" HIGH by "nvd", fixed`,
			`app (debian 12.1): CVE-2005-2541 tar 1.34+dfsg-1.2+deb12u1 "" LOW by "debian", affected`,
			`app (debian 12.1): CVE-2023-45853 zlib1g 1.2.13.dfsg-1 "" CRITICAL by "nvd", will_not_fix`,
		}},
		{"Ubuntu has its own severity", analysis.Detail{
			OS:       ftypes.OS{Family: ftypes.Ubuntu, Name: "22.04"},
			Packages: ftypes.Packages{dpkg("libc6", "glibc", "2.35", "0ubuntu3.1")},
		}, []string{`app (ubuntu 22.04): CVE-2023-4911 libc6 2.35-0ubuntu3.1 "2.35-0ubuntu3.4" HIGH by "ubuntu", fixed`}},
		{"Alpine", analysis.Detail{
			OS:       ftypes.OS{Family: ftypes.Alpine, Name: "3.15.0"},
			Packages: ftypes.Packages{{ID: "libcrypto1.1@1.1.1l-r7", Name: "libcrypto1.1", Version: "1.1.1l-r7", SrcName: "openssl", SrcVersion: "1.1.1l-r7"}},
		}, []string{`app (alpine 3.15.0): CVE-2022-0778 libcrypto1.1 1.1.1l-r7 "1.1.1n-r0" HIGH by "nvd", fixed`}},
		{"Alpine known by its repositories alone", analysis.Detail{
			Repository: &ftypes.Repository{Family: ftypes.Alpine, Release: "3.15"},
			Packages:   ftypes.Packages{{ID: "libcrypto1.1@1.1.1l-r7", Name: "libcrypto1.1", Version: "1.1.1l-r7", SrcName: "openssl", SrcVersion: "1.1.1l-r7"}},
		}, []string{`app (alpine 3.15): CVE-2022-0778 libcrypto1.1 1.1.1l-r7 "1.1.1n-r0" HIGH by "nvd", fixed`}},
		{"languages, sorted by target; a fixed version is fine", analysis.Detail{Applications: ftypes.Applications{
			library(ftypes.GoBinary, "usr/bin/app", "github.com/gogo/protobuf", "v1.3.1"),
			library(ftypes.GoBinary, "usr/bin/new", "github.com/gogo/protobuf", "v1.3.2"),
			library(ftypes.NodePkg, "", "lodash", "4.17.20"),
			library(ftypes.PythonPkg, "", "requests", "2.19.1"),
			library(ftypes.Jar, "", "org.apache.logging.log4j:log4j-core", "2.14.1"),
		}}, []string{
			`Java: CVE-2021-44228 org.apache.logging.log4j:log4j-core 2.14.1 "2.15.0" CRITICAL by "ghsa", fixed`,
			`Node.js: CVE-2021-23337 lodash 4.17.20 "4.17.21" HIGH by "ghsa", fixed`,
			`Python: CVE-2018-18074 requests 2.19.1 "2.20.0" HIGH by "ghsa", fixed`,
			`usr/bin/app: CVE-2021-3121 github.com/gogo/protobuf v1.3.1 "1.3.2" HIGH by "ghsa", fixed`,
		}},
		{"the same advisory once for a package", analysis.Detail{
			OS:       ftypes.OS{Family: ftypes.Debian, Name: "12.1"},
			Packages: ftypes.Packages{dpkg("libc6", "glibc", "2.36", "9"), dpkg("libc6", "glibc", "2.36", "9")},
		}, []string{`app (debian 12.1): CVE-2023-4911 libc6 2.36-9 "2.36-9+deb12u3" HIGH by "nvd", fixed`}},
		{"a stranger's package of the same name is not the distribution's", analysis.Detail{
			OS: ftypes.OS{Family: ftypes.Debian, Name: "12.1"},
			Packages: ftypes.Packages{func() ftypes.Package {
				p := dpkg("zlib1g", "zlib", "1.2.13", "1")
				p.Repository.Class = ftypes.RepositoryClassThirdParty
				return p
			}()},
		}, nil},
		{"an image of nothing", analysis.Detail{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			results, _, err := database.Detect(clock.With(t.Context(), today), &tc.detail, Options{Name: "app"})
			if err != nil {
				t.Fatalf("Detect: %v", err)
			}
			if diff := cmp.Diff(tc.want, findings(results)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResultsCarryPackagesLayersAndDetails(t *testing.T) {
	database := opened(t, advisories, vulnerabilities)
	detail := &analysis.Detail{
		OS:           ftypes.OS{Family: ftypes.Debian, Name: "12.1"},
		Packages:     ftypes.Packages{dpkg("libc6", "glibc", "2.36", "9+deb12u1")},
		Applications: ftypes.Applications{library(ftypes.NodePkg, "", "lodash", "4.17.20")},
	}
	results, endOfLife, err := database.Detect(clock.With(t.Context(), today), detail, Options{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	if endOfLife {
		t.Error("Debian 12 is past its end of life in January 2026")
	}
	if len(results) != 2 || results[0].Class != types.ClassOSPkg || results[0].Type != ftypes.Debian || results[1].Class != types.ClassLangPkg || results[1].Type != ftypes.NodePkg {
		t.Fatalf("results %+v; want one of the distribution and one of Node.js", results)
	}
	if len(results[0].Packages) != 1 || len(results[1].Packages) != 1 {
		t.Errorf("packages %v and %v; want one each", results[0].Packages, results[1].Packages)
	}
	v := results[0].Vulnerabilities[0]
	if v.Layer != brought || v.Title == "" || v.PrimaryURL != "https://avd.aquasec.com/nvd/cve-2023-4911" || v.DataSource == nil || v.DataSource.ID != "debian" {
		t.Errorf("vulnerability %+v; want its layer, title, address and source", v)
	}
	if diff := cmp.Diff([]string{"DSA-5514-1"}, v.VendorIDs); diff != "" {
		t.Errorf("vendor's IDs (-want +got):\n%s", diff)
	}
}

func TestEndOfLifeIsComparedWithTheClock(t *testing.T) {
	database := opened(t, advisories, vulnerabilities)
	detail := &analysis.Detail{OS: ftypes.OS{Family: ftypes.Debian, Name: "12.1"}, Packages: ftypes.Packages{dpkg("sed", "sed", "4.9", "1")}}
	_, endOfLife, err := database.Detect(clock.With(t.Context(), time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)), detail, Options{})
	if err != nil || !endOfLife {
		t.Errorf("end of life %v, error %v; want true in 2029", endOfLife, err)
	}
}

func TestPkgTypesNarrow(t *testing.T) {
	database := opened(t, advisories, vulnerabilities)
	detail := &analysis.Detail{
		OS:           ftypes.OS{Family: ftypes.Debian, Name: "12.1"},
		Packages:     ftypes.Packages{dpkg("libc6", "glibc", "2.36", "9")},
		Applications: ftypes.Applications{library(ftypes.NodePkg, "", "lodash", "4.17.20")},
	}
	for pkgType, want := range map[string]types.ResultClass{types.PkgTypeOS: types.ClassOSPkg, types.PkgTypeLibrary: types.ClassLangPkg} {
		results, _, err := database.Detect(t.Context(), detail, Options{PkgTypes: []string{pkgType}})
		if err != nil || len(results) != 1 || results[0].Class != want {
			t.Errorf("%s: results %v, error %v; want one of class %s", pkgType, results, err, want)
		}
	}
}

// Packages nobody can look up are no clean bill of health.
func TestPackagesThatCannotBeMatchedAreAnError(t *testing.T) {
	database := opened(t, advisories, vulnerabilities)
	for _, os := range []ftypes.OS{{}, {Family: "plan9", Name: "4"}} {
		results, _, err := database.Detect(t.Context(), &analysis.Detail{OS: os, Packages: ftypes.Packages{dpkg("libc6", "glibc", "2.36", "9")}}, Options{})
		unmatched, ok := errors.AsType[*UnmatchedError](err)
		if !ok || unmatched.Packages != 1 || results != nil {
			t.Errorf("on %q: results %v, error %v; want an UnmatchedError about one package", os.Family, results, err)
		}
	}
	if _, _, err := database.Detect(t.Context(), &analysis.Detail{OS: ftypes.OS{Family: "plan9", Name: "4"}}, Options{}); err != nil {
		t.Errorf("without packages: %v", err)
	}
}

// To Trivy's detectors a release that is not in the database has no flaws.
func TestAReleaseThatTheDatabaseDoesNotKnowIsAnError(t *testing.T) {
	database := opened(t, advisories, vulnerabilities)
	edge := &ftypes.Repository{Family: ftypes.Alpine, Release: "edge"}
	for _, tc := range []struct {
		os         ftypes.OS
		repository *ftypes.Repository
		known      bool
	}{
		{ftypes.OS{Family: ftypes.Debian, Name: "12.5"}, nil, true},
		{ftypes.OS{Family: ftypes.Debian, Name: "forky/sid"}, nil, false},
		{ftypes.OS{Family: ftypes.Ubuntu, Name: "22.04"}, nil, true},
		{ftypes.OS{Family: ftypes.Ubuntu, Name: "22.04", Extended: true}, nil, true},
		{ftypes.OS{Family: ftypes.Ubuntu, Name: "29.10"}, nil, false},
		{ftypes.OS{Family: ftypes.Alpine, Name: "3.15.2"}, nil, true},
		{ftypes.OS{Family: ftypes.Alpine, Name: "3.99.0"}, nil, false},
		{ftypes.OS{Family: ftypes.Alpine, Name: "3.15.2"}, edge, false},
	} {
		detail := &analysis.Detail{OS: tc.os, Repository: tc.repository, Packages: ftypes.Packages{dpkg("busybox", "busybox", "1", "1")}}
		_, _, err := database.Detect(t.Context(), detail, Options{})
		if unmatched, ok := errors.AsType[*UnmatchedError](err); ok == tc.known || ok && !unmatched.Release {
			t.Errorf("%s %s (repository %v): error %v; known should be %v", tc.os.Family, tc.os.Name, tc.repository, err, tc.known)
		}
	}
}

// Trivy calls a vulnerability whose details it can't read one of unknown
// severity, and a gate at critical would let it through.
func TestDamagedEntriesAreAnError(t *testing.T) {
	for _, file := range []string{"testdata/damaged-details.yaml", "testdata/damaged-advisory.yaml"} {
		t.Run(file, func(t *testing.T) {
			database := opened(t, advisories, vulnerabilities, file)
			detail := &analysis.Detail{OS: ftypes.OS{Family: ftypes.Debian, Name: "12.1"}, Packages: ftypes.Packages{dpkg("zlib1g", "zlib", "1.2.13", "1")}}
			results, _, err := database.Detect(t.Context(), detail, Options{})
			if err == nil {
				t.Errorf("Detect returned %v and no error", findings(results))
			}
		})
	}
}

// An advisory about a rejected CVE has no details; that is no damage.
func TestAVulnerabilityWithoutDetailsIsOfUnknownSeverity(t *testing.T) {
	database := opened(t, advisories, vulnerabilities, "testdata/no-details.yaml")
	detail := &analysis.Detail{OS: ftypes.OS{Family: ftypes.Debian, Name: "12.1"}, Packages: ftypes.Packages{dpkg("sed", "sed", "4.9", "1")}}
	results, _, err := database.Detect(t.Context(), detail, Options{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`app (debian 12.1): TEMP-0000000-000000 sed 4.9-1 "" UNKNOWN by "", affected`}
	if diff := cmp.Diff(want, findings(results)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
