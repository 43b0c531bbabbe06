package analysis

import (
	"errors"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

func TestDpkgSourceFields(t *testing.T) {
	for field, want := range map[string][2]string{
		"":                {"", ""},
		"glibc":           {"glibc", ""},
		"glibc (2.36-9)":  {"glibc", "2.36-9"},
		"a ( 1:2-3 )":     {"a", "1:2-3"},
		"a (1) (2)":       {"a", "1) (2"},
		"a  (1)":          {"a", ""}, // two spaces
		"a(1)":            {"a(1)", ""},
		"two words":       {"two", ""},
		"never closed (1": {"never", ""},
	} {
		if name, version := dpkgSource(field); name != want[0] || version != want[1] {
			t.Errorf("dpkgSource(%q) = %q, %q; want %q", field, name, version, want)
		}
	}
}

// installedFiles returns the files of the package of that name.
func installedFiles(t *testing.T, r *Result, name string) []string {
	t.Helper()
	for _, info := range r.Packages {
		for _, p := range info.Packages {
			if p.Name == name {
				return p.InstalledFiles
			}
		}
	}
	t.Fatalf("no package %s among %v", name, found(r))
	return nil
}

func TestDpkgFileListsAreFoundByPackage(t *testing.T) {
	const status = "Package: a\nVersion: 1-1\nArchitecture: amd64\n"
	list := func(p, name string) file { return file{path: p, content: "0  " + name + "\n"} }
	for _, tc := range []struct {
		name  string
		lists []file
		want  []string
	}{
		{"by name", []file{list("var/lib/dpkg/info/a.md5sums", "x")}, []string{"/x"}},
		{"by name and architecture", []file{list("var/lib/dpkg/info/a:amd64.md5sums", "x")}, []string{"/x"}},
		{"of another architecture", []file{list("var/lib/dpkg/info/a:i386.md5sums", "x")}, nil},
		{"by name first", []file{list("var/lib/dpkg/info/a.md5sums", "x"), list("var/lib/dpkg/info/a:amd64.md5sums", "y")}, []string{"/x"}},
		{"distroless over dpkg, in any order", []file{list("var/lib/dpkg/status.d/a.md5sums", "y"), list("var/lib/dpkg/info/a.md5sums", "x")}, []string{"/y"}},
		{"a list of another form hides nothing", []file{{path: "var/lib/dpkg/info/a.md5sums", content: "0  x\n0 y\n"}}, nil},
		{"but that by architecture still counts", []file{{path: "var/lib/dpkg/info/a.md5sums", content: "0 y\n"}, list("var/lib/dpkg/info/a:amd64.md5sums", "x")}, []string{"/x"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, append(tc.lists, file{path: dpkgStatus, content: status})...)
			if diff := cmp.Diff(tc.want, installedFiles(t, r, "a")); diff != "" || len(r.Problems) > 0 {
				t.Errorf("files (-want +got), problems %v:\n%s", r.Problems, diff)
			}
		})
	}
}

// The root itself is no file: with it, a package without a file would be hidden.
func TestNothingIsHiddenByTheRoot(t *testing.T) {
	header := rpmPackageOf("filesystem", rpmTag{tagVendor, "Red Hat"}, rpmTag{tagDirIndexes, []uint32{0}}, rpmTag{tagBaseNames, []string{"/"}}, rpmTag{tagDirNames, []string{"/"}})
	l := newLayer(t.Context(), Options{})
	if err := l.rpm(t.Context(), "var/lib/rpm/Packages", contentOf(ndbOf(header))); err != nil {
		t.Fatal(err)
	}
	l.install([]string{"/", "", "/usr"})
	if l.installed[""] || !l.installed["usr"] || len(l.installed) != 1 {
		t.Errorf("installed: %v, want usr alone", l.installed)
	}
}

func TestCopyrightFilesNameTheLicenses(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          []string
	}{
		{"machine-readable", "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nLicense: GPL-2+\nLicense: MIT or BSD-3-clause\n", []string{"GPL-2.0-or-later", "MIT", "BSD-3-Clause"}},
		{"references, with punctuation", "see /usr/share/common-licenses/GPL-2.\nand `/usr/share/common-licenses/LGPL-2.1', too\n", []string{"GPL-2.0-only", "LGPL-2.1-only"}},
		{"prose", "License: The MIT License (MIT)\n", []string{"MIT"}},
		{"a whole licence for a name", "License: " + strings.Repeat("x", maxLicenseName+1) + "\n", nil},
		{"nothing", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, file{path: "usr/share/doc/a/copyright", content: tc.content})
			var got []string
			if len(r.Copyrights) > 0 {
				got = r.Copyrights[0].Licenses
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("licences (-want +got):\n%s", diff)
			}
		})
	}
}

// A few bytes may not stand for any number of packages, errors or names.
func TestHostileListsAreBounded(t *testing.T) {
	listed := listing{packages: maxPackages - 1}
	pkgs, err := dpkgPackages([]byte("Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 1\n"), &listed)
	if len(pkgs) != 1 || !errors.Is(err, errListing) {
		t.Errorf("%d packages and error %v; want one more than there may be to be refused", len(pkgs), err)
	}
	for _, tc := range []struct {
		name   string
		file   file
		reason string
	}{
		{"errors", file{path: dpkgStatus, content: strings.Repeat("x\n\n", 100_000)}, "and 99995 more"},
		{"one paragraph", file{path: dpkgStatus, content: "Package: a\n" + strings.Repeat("x: y\n", maxParagraph/5)}, "too large"},
		{"file names", file{path: "lib/apk/db/installed", content: "F:" + strings.Repeat("d", 1<<20) + "\n" + strings.Repeat("R:a\n", 1000)}, "names of more than"},
		{"an inventory", file{path: bottlerocketInventory, content: strings.Repeat(" ", maxSmallFile+1)}, "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.file)
			if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Reason, tc.reason) {
				t.Errorf("problems %v; want one about %q", r.Problems, tc.reason)
			}
		})
	}
}

func TestBottlerocketListsWhatItIsMadeOf(t *testing.T) {
	r := analysed(t, Options{}, file{path: strings.Replace(bottlerocketInventory, "x86_64", "aarch64", 1), content: `{"Content":[
		{"Name":"glibc","Publisher":"Bottlerocket","Version":"2.40","Release":"1.br1","Epoch":"1","Architecture":"aarch64"},
		{"Name":"kernel","Version":"6.1","Release":"0","Architecture":"aarch64"}]}`})
	want := ftypes.Packages{
		{ID: "glibc@1:2.40-1.br1", Name: "glibc", Version: "2.40", Release: "1.br1", Epoch: 1, Arch: "aarch64", AnalyzedBy: "bottlerocket-inventory"},
		{ID: "kernel@6.1-0", Name: "kernel", Version: "6.1", Release: "0", Arch: "aarch64", AnalyzedBy: "bottlerocket-inventory"},
	}
	if diff := cmp.Diff(want, r.Packages[0].Packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}
