package analysis

import (
	"cmp"
	"encoding/binary"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/digest"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/scan/utils"
	gocmp "github.com/google/go-cmp/cmp"
	rpmdb "github.com/knqyf263/go-rpmdb/pkg"
)

// realRpmDatabases are databases of real systems, which go-rpmdb's own tests
// read: path by name.
func realRpmDatabases(t testing.TB) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/knqyf263/go-rpmdb").Output()
	if err != nil {
		t.Fatalf("find the module of go-rpmdb: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "pkg", "testdata", "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no databases in the module of go-rpmdb (%v)", err)
	}
	databases := map[string]string{}
	for _, f := range files {
		databases[filepath.Base(filepath.Dir(f))] = f
	}
	return databases
}

// inLayer is where a layer has a database, by the name of its file.
func inLayer(database string) string { return path.Join("var/lib/rpm", filepath.Base(database)) }

func readFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// knownRpmPackages are packages as the systems' own rpm -qa lists them.
func knownRpmPackages(database string) []string {
	return map[string][]string{
		"centos5-plain":           {"bash 3.2-33.el5_11.4", "openssl 0.9.8e-39.el5_11"},
		"centos6-plain":           {"bash 4.1.2-48.el6", "openssl 1.0.1e-57.el6"},
		"centos7-plain":           {"bash 4.2.46-30.el7", "bind-license 32:9.9.4-61.el7_5.1"},
		"centos8-modularitylabel": {"nodejs 1:10.21.0-3.module_el8.2.0+391+8da3adc6", "openssl 1:1.1.1c-15.el8"},
		"fedora35":                {"bash 5.1.8-2.fc35"},
		"sle15-bci":               {"bash 4.4-19.6.1", "libzstd1 1.4.4-1.6.1"},
		"ubi8-s390x":              {"bash 4.4.20-3.el8"},
	}[database]
}

// What go-rpmdb reads itself, by its own means, is what is found.
func TestRealRpmDatabasesAreReadAsGoRpmdbReadsThem(t *testing.T) {
	for name, database := range realRpmDatabases(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			content := readFile(t, database)
			r, err := Layer(t.Context(), input(layerTar(t, file{path: inLayer(database), content: content})), Options{TempDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Problems) > 0 || len(r.Packages) != 1 {
				t.Fatalf("problems %v, %d lists of packages; want one list", r.Problems, len(r.Packages))
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v (%v)", left, err)
			}
			got, want := r.Packages[0].Packages, packagesByGoRpmdb(t, content)
			if len(got) != len(want) {
				t.Fatalf("%d packages, want %d", len(got), len(want))
			}
			for _, pkgs := range []ftypes.Packages{got, want} {
				slices.SortFunc(pkgs, func(a, b ftypes.Package) int {
					return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(string(a.Digest), string(b.Digest)))
				})
			}
			known := knownRpmPackages(name)
			for i := range got {
				nameAndVersion := got[i].Name + " " + utils.FormatVersion(got[i])
				known = slices.DeleteFunc(known, func(k string) bool { return k == nameAndVersion })
				got[i].DependsOn = nil // told by another test
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Errorf("package (-want +got):\n%s", gocmp.Diff(want[i], got[i]))
				}
			}
			if len(known) > 0 {
				t.Errorf("not found: %q", known)
			}
		})
	}
}

// packagesByGoRpmdb lists a database the plain way.
func packagesByGoRpmdb(t *testing.T, content string) ftypes.Packages {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "database") // go-rpmdb may write beside it
	if err := os.WriteFile(copied, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := rpmdb.Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := db.ListPackages()
	if err != nil {
		t.Fatal(err)
	}
	var pkgs ftypes.Packages
	for _, i := range infos {
		p := ftypes.Package{
			ID: i.Name + "@" + i.Version + "-" + i.Release + "." + i.Arch, Name: i.Name, Version: i.Version, Release: i.Release,
			Epoch: i.EpochNum(), Arch: i.Arch, SrcEpoch: i.EpochNum(), Modularitylabel: i.Modularitylabel, Maintainer: i.Vendor, AnalyzedBy: "rpm",
		}
		if i.Arch == "" {
			p.Arch = "None"
		}
		if i.License != "" {
			p.Licenses = []string{i.License}
		}
		if i.SourceRpm != "" {
			parts := strings.Split(strings.TrimSuffix(i.SourceRpm, ".src.rpm"), "-")
			n := len(parts)
			p.SrcName, p.SrcVersion, p.SrcRelease = strings.Join(parts[:n-2], "-"), parts[n-2], strings.TrimSuffix(parts[n-1], ".nosrc.rpm")
		}
		p.Repository.Class = ftypes.RepositoryClassThirdParty
		if rpmOfVendor(i) { // told by another test
			p.Repository.Class = ftypes.RepositoryClassOfficial
			if p.InstalledFiles, err = i.InstalledFileNames(); err != nil {
				t.Fatal(err)
			}
		}
		if i.SigMD5 != "" {
			p.Digest = digest.Digest("md5:" + i.SigMD5)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func TestRpmPackagesAreReadWhole(t *testing.T) {
	files := []rpmTag{{tagDirIndexes, []uint32{0, 1, 1}}, {tagBaseNames, []string{"", "a", "b"}}, {tagDirNames, []string{"/", "/usr/bin/"}}}
	for _, tc := range []struct {
		name string
		tags []rpmTag
		want ftypes.Package
	}{
		{"all of a distribution's package", append([]rpmTag{
			{tagSigMD5, []byte{0xab, 0xcd}}, {tagEpoch, []uint32{3}}, {tagVendor, "Red Hat, Inc."}, {tagLicense, "MIT and BSD"}, {tagArch, "x86_64"},
			{tagSource, "x-libs-1.2-3.el8.src.rpm"}, {tagModularity, "nodejs:10:1:2"}}, files...),
			ftypes.Package{ID: "x@1-2.x86_64", Arch: "x86_64", Epoch: 3, SrcEpoch: 3, SrcName: "x-libs", SrcVersion: "1.2", SrcRelease: "3.el8",
				Maintainer: "Red Hat, Inc.", Licenses: []string{"MIT and BSD"}, Modularitylabel: "nodejs:10:1:2", Digest: "md5:abcd",
				InstalledFiles: []string{"/", "/usr/bin/a", "/usr/bin/b"}, Repository: ftypes.PackageRepository{Class: "official"}}},
		{"a stranger's hides no files", append([]rpmTag{{tagVendor, "MongoDB"}, {tagArch, "noarch"}}, files...),
			ftypes.Package{ID: "x@1-2.noarch", Arch: "noarch", Maintainer: "MongoDB", Repository: ftypes.PackageRepository{Class: "third-party"}}},
		{"a key has neither architecture nor source", []rpmTag{{tagSource, "(none)"}, {tagVendor, "(none)"}},
			ftypes.Package{ID: "x@1-2.", Arch: "None", Repository: ftypes.PackageRepository{Class: "third-party"}}},
		{"a source of another form is unknown", []rpmTag{{tagArch, "a"}, {tagSource, "x.rpm"}},
			ftypes.Package{ID: "x@1-2.a", Arch: "a", Repository: ftypes.PackageRepository{Class: "third-party"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Name, tc.want.Version, tc.want.Release, tc.want.AnalyzedBy = "x", "1", "2", "rpm"
			header := rpmPackageOf("x", tc.tags...)
			for format, database := range map[string]string{
				"SQLite": sqliteOf(t, []string{rpmTable}, header), "ndb": string(ndbOf(header)),
				"Berkeley DB": string(berkeleyDBOf(binary.LittleEndian, header)), "Berkeley DB of another byte order": string(berkeleyDBOf(binary.BigEndian, header)),
			} {
				r := analysed(t, Options{}, file{path: "usr/lib/sysimage/rpm/Packages", content: database})
				if len(r.Problems) > 0 {
					t.Fatalf("%s: problems: %v", format, r.Problems)
				}
				if diff := gocmp.Diff(ftypes.Packages{tc.want}, r.Packages[0].Packages); diff != "" {
					t.Errorf("%s: package (-want +got):\n%s", format, diff)
				}
			}
		})
	}
}

func TestAmazonsPackagesMayNameNoVendor(t *testing.T) {
	header := rpmHeaderOf(rpmTag{tagName, "x"}, rpmTag{tagVersion, "1"}, rpmTag{tagRelease, "2.amzn2023"})
	r := analysed(t, Options{}, file{path: "var/lib/rpm/rpmdb.sqlite", content: sqliteOf(t, []string{rpmTable}, header)})
	if got := r.Packages[0].Packages[0].Repository.Class; got != ftypes.RepositoryClassOfficial {
		t.Errorf("class %q, want official", got)
	}
}

func TestRpmRequirementsBecomePackages(t *testing.T) {
	// More packages than one batch of headers takes.
	var headers [][]byte
	for i := range 600 {
		n := strconv.Itoa(i)
		headers = append(headers, rpmPackageOf("p"+n, rpmTag{tagArch, "a"}, rpmTag{tagProvides, []string{"p" + n, "lib" + n}},
			rpmTag{tagRequires, []string{"lib" + strconv.Itoa((i+1)%600), "p" + n, "lib5", "p5", "nothing"}}))
	}
	r := analysed(t, Options{}, file{path: "var/lib/rpm/rpmdb.sqlite", content: sqliteOf(t, []string{rpmTable}, headers...)})
	pkgs := r.Packages[0].Packages
	if len(pkgs) != 600 || len(r.Problems) > 0 {
		t.Fatalf("%d packages, problems %v; want 600 and none", len(pkgs), r.Problems)
	}
	for name, want := range map[string][]string{"p7": {"p5@1-2.a", "p8@1-2.a"}, "p4": {"p5@1-2.a"}, "p5": {"p6@1-2.a"}} {
		i := slices.IndexFunc(pkgs, func(p ftypes.Package) bool { return p.Name == name })
		if diff := gocmp.Diff(want, pkgs[i].DependsOn); diff != "" {
			t.Errorf("%s depends on (-want +got):\n%s", name, diff)
		}
	}
}

func TestRpmManifestOfDistrolessImages(t *testing.T) {
	r := analysed(t, Options{}, file{path: rpmManifest, content: "openssl-libs\t1.1.1k-21.cm2\t1675819200\t1675732800\tMicrosoft Corporation\t(none)\t4123\tx86_64\t1\topenssl-1.1.1k-21.cm2.src.rpm\n"})
	want := ftypes.Packages{{Name: "openssl-libs", Version: "1.1.1k", Release: "21.cm2", Epoch: 1, Arch: "x86_64",
		SrcName: "openssl", SrcVersion: "1.1.1k", SrcRelease: "21.cm2", SrcEpoch: 1, AnalyzedBy: "rpmqa"}}
	if diff := gocmp.Diff(want, r.Packages[0].Packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}

func TestRpmLooksWhereRpmKeepsItsDatabase(t *testing.T) {
	for p, want := range map[string]bool{
		"var/lib/rpm/Packages": true, "usr/lib/sysimage/rpm/Packages.db": true, "usr/share/rpm/rpmdb.sqlite": true,
		"usr/share/rpm/Packages": false, "opt/var/lib/rpm/Packages": false, "var/lib/rpm/rpmdb.sqlite-wal": false,
	} {
		if got := rpmFile(p); got != want {
			t.Errorf("rpmFile(%q) = %v, want %v", p, got, want)
		}
	}
}
