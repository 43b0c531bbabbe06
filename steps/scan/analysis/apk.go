package analysis

import (
	"context"
	"encoding/base64"
	"fmt"
	"path"
	"regexp"
	"strings"

	goversion "github.com/aquasecurity/go-version/pkg/version"
	"github.com/aquasecurity/trivy/pkg/digest"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	apkversion "github.com/knqyf263/go-apk-version"
)

const (
	nameApk         = "apk"
	nameApkRepo     = "apk-repo"
	apkRepositories = "etc/apk/repositories"
)

func apkFile(p string) bool { return p == "lib/apk/db/installed" || p == "usr/lib/apk/db/installed" }

// apk reads apk's database of installed packages: paragraphs of "X:value"
// lines, see https://wiki.alpinelinux.org/wiki/Apk_spec. Trivy stops at a line
// over 64 KiB, and would not see what is behind one.
func (l *layer) apk(_ context.Context, p string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	db := newApkDatabase(&l.listing)
	err = db.read(string(data))
	l.install(db.installed)
	l.addPackages(p, db.pkgs)
	return err
}

type apkDatabase struct {
	listed    *listing
	pkgs      ftypes.Packages
	seen      map[string]bool   // by name: the first of a name is the one installed
	providers map[string]string // name or provided name, to package ID
	installed []string
	errs      complaints

	pkg     ftypes.Package // the paragraph being read
	version string
	dir     string
}

func newApkDatabase(listed *listing) *apkDatabase {
	return &apkDatabase{listed: listed, providers: map[string]string{}, seen: map[string]bool{}}
}

func (db *apkDatabase) read(text string) error {
	for line := range strings.Lines(text) {
		if err := db.line(strings.TrimRight(line, "\r\n")); err != nil {
			db.errs.add(err)
			break
		}
	}
	db.errs.add(db.end())
	for i := range db.pkgs {
		db.pkgs[i].DependsOn = resolve(db.pkgs[i].DependsOn, db.providers)
	}
	return db.errs.err()
}

// line reads one line. An error ends the reading.
func (db *apkDatabase) line(line string) error {
	if len(line) < 2 {
		return db.end()
	}
	key, value := line[:2], line[2:]
	switch pkg := &db.pkg; key {
	case "P:":
		pkg.Name = value
	case "V:":
		db.version = value
		if !apkversion.Valid(value) {
			db.errs.add(fmt.Errorf("package %s: %q is not a version", shorten(pkg.Name), shorten(value)))
			return nil
		}
		pkg.Version = value
	case "o:":
		pkg.SrcName, pkg.SrcVersion = value, db.version
	case "L:":
		pkg.Licenses = licensing.LaxSplitLicenses(value)
	case "F:":
		db.dir = value
	case "R:":
		file := path.Join(db.dir, value)
		if err := db.listed.addName(len(file)); err != nil {
			return err
		}
		pkg.InstalledFiles = append(pkg.InstalledFiles, file)
		db.installed = append(db.installed, file)
	case "p:":
		for name := range strings.FieldsSeq(value) {
			if err := db.listed.addName(len(name)); err != nil {
				return err
			}
			db.providers[apkName(name)] = pkg.ID
		}
	case "D:":
		pkg.DependsOn = nil
		for name := range strings.FieldsSeq(value) {
			if err := db.listed.addName(len(name)); err != nil {
				return err
			}
			if !strings.HasPrefix(name, "!") { // a conflict
				pkg.DependsOn = append(pkg.DependsOn, apkName(name))
			}
		}
	case "A:":
		pkg.Arch = value
	case "C:":
		if d := apkDigest(value); d != "" {
			pkg.Digest = d
		}
	case "m:":
		pkg.Maintainer = value
	}
	if db.pkg.Name != "" && db.pkg.Version != "" {
		db.pkg.ID = db.pkg.Name + "@" + db.pkg.Version
		db.providers[db.pkg.Name] = db.pkg.ID
	}
	return nil
}

// end closes a paragraph.
func (db *apkDatabase) end() error {
	pkg := db.pkg
	db.pkg = ftypes.Package{}
	if pkg.Empty() || db.seen[pkg.Name] {
		return nil
	}
	if err := db.listed.addPackage(); err != nil {
		return err
	}
	db.seen[pkg.Name] = true
	pkg.AnalyzedBy = nameApk
	db.pkgs = append(db.pkgs, pkg)
	return nil
}

// apkName strips a requirement: "so:libssl.so.1.1=1.1" is so:libssl.so.1.1.
func apkName(s string) string {
	if i := strings.IndexAny(s, "<>="); i >= 0 {
		return s[:i]
	}
	return s
}

// apkDigest reads "Q1" and base64 of a SHA-1; without Q1 it is an MD5.
func apkDigest(value string) digest.Digest {
	sum, isSHA1 := strings.CutPrefix(value, "Q1")
	algorithm := digest.MD5
	if isSHA1 {
		algorithm = digest.SHA1
	}
	raw, err := base64.StdEncoding.DecodeString(sum)
	if err != nil {
		return "" // only reports show it
	}
	return digest.NewDigestFromString(algorithm, fmt.Sprintf("%x", raw))
}

// apkRepository notes the newest Alpine release apk would install from: its
// advisories count, and without any release file it stands in for the system.
func (l *layer) apkRepository(_ context.Context, _ string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	if release := apkRelease(string(data)); release != "" {
		l.result.Repository = &ftypes.Repository{Family: ftypes.Alpine, Release: release}
	}
	return nil
}

// apkRelease returns "" where the repositories are not Alpine's, or not all: a
// vendor's, as in https://nginx.org/packages/alpine/v3.20/main, looks like one
// of another distribution. The system's own release counts then.
func apkRelease(text string) string {
	url := regexp.MustCompile(`(https*|ftp)://[0-9A-Za-z.-]+/([A-Za-z]+)/v?([0-9A-Za-z_.-]+)/`)
	release := ""
	for line := range strings.Lines(text) {
		m := url.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if ftypes.OSType(m[2]) != ftypes.Alpine {
			return ""
		}
		release = newerRelease(release, m[3])
	}
	return release
}

// newerRelease returns the newer of two Alpine releases; "edge" is newest.
func newerRelease(have, other string) string {
	if have == "" || other == "edge" {
		return other
	}
	if have == "edge" {
		return have
	}
	a, errA := goversion.Parse(have)
	b, errB := goversion.Parse(other)
	if errA == nil && errB == nil && b.GreaterThan(a) {
		return other
	}
	return have
}
