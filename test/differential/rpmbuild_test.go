package differential

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An rpmPackage is built by rpmbuild and installed into a database by rpm: the
// real programs, so that the database is a real one.
type rpmPackage struct {
	Name    string
	Version string // [EPOCH:]VERSION-RELEASE
	Source  string // the package it was built from; the same name when empty
	Arch    string // x86_64 when empty
	Vendor  string
	Module  string // as in nodejs:12:8030020201124152102:229f0a1c
	Files   []string
}

// spec describes the package to rpmbuild. It is built as a subpackage wherever
// its source has another name.
func (p rpmPackage) spec() string {
	epoch, version, ok := strings.Cut(p.Version, ":")
	if !ok {
		epoch, version = "", p.Version
	}
	version, release, _ := strings.Cut(version, "-")
	source := cmp.Or(p.Source, p.Name)
	var b strings.Builder
	fmt.Fprintf(&b, "%%global debug_package %%{nil}\n%%global __os_install_post %%{nil}\nName: %s\nVersion: %s\nRelease: %s\nSummary: a package\nLicense: MIT and GPLv2+\n", source, version, release)
	for field, value := range map[string]string{"Epoch": epoch, "Vendor": p.Vendor, "ModularityLabel": p.Module} {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", field, value)
		}
	}
	part := ""
	if source != p.Name {
		part = "-n " + p.Name
		fmt.Fprintf(&b, "%%package %s\nSummary: a part\n%%description %s\npart\n", part, part)
	}
	b.WriteString("%description\nwhole\n%install\n")
	for _, file := range p.Files {
		fmt.Fprintf(&b, "mkdir -p %%{buildroot}%s\ntouch %%{buildroot}%s\n", filepath.Dir(file), file)
	}
	fmt.Fprintf(&b, "%%files %s\n%s\n", part, strings.Join(p.Files, "\n"))
	return b.String()
}

// Kinds of databases that today's rpm writes; those in Berkeley DB come from
// go-rpmdb.
const (
	rpmSQLite = "sqlite"
	rpmNDB    = "ndb"
)

// rpmDatabase is what rpm keeps of the packages, in the format of backend.
func rpmDatabase(t *testing.T, backend string, packages ...rpmPackage) []byte {
	t.Helper()
	dir := t.TempDir()
	var built []string
	for i, p := range packages {
		spec := filepath.Join(dir, fmt.Sprintf("%d.spec", i))
		if err := os.WriteFile(spec, []byte(p.spec()), 0o600); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, fmt.Sprint(i))
		command(t, dir, "rpmbuild", "-bb", "--quiet", "--target="+cmp.Or(p.Arch, "x86_64"),
			"--define=_topdir "+out, "--define=_rpmdir "+out, "--define=_buildhost localhost",
			"--define=use_source_date_epoch_as_buildtime 1", "--define=_dbpath "+filepath.Join(dir, "none"), spec)
		found, err := filepath.Glob(filepath.Join(out, "*", "*.rpm"))
		if err != nil || len(found) != 1 {
			t.Fatalf("rpmbuild made %v of %s", found, p.Name)
		}
		built = append(built, found[0])
	}
	db := filepath.Join(dir, "db")
	command(t, dir, "rpm", append([]string{
		"--define=_db_backend sqlite", "--dbpath=" + db, "--force-debian", "-i", "--justdb", "--nodeps", "--noscripts",
		"--ignorearch", "--ignoreos", "--nosignature", "--force",
	}, built...)...)
	file := filepath.Join(db, "rpmdb.sqlite")
	if backend == rpmNDB {
		return ndb(headers(t, file))
	}
	return read(t, file)
}

// command runs a program of this machine, with no configuration of its user's.
func command(t *testing.T, home, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SOURCE_DATE_EPOCH=1700000000", "LC_ALL=C.UTF-8"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}
