package analysis

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/internal/image"
)

// maxSmallFile bounds files that are written by hand or list little (bytes);
// real ones are a few KB.
const maxSmallFile = 4 << 20

// systemAnalyzers returns who wants a file because it says which distribution
// this is, or what its package manager installed.
func (l *layer) systemAnalyzers(e image.Entry) []analyzer {
	p, small := e.Path, min(l.opts.MaxFile, maxSmallFile)
	var wanted []analyzer
	if releaseFile(p) {
		wanted = append(wanted, analyzer{nameOS, small, l.release})
	}
	switch {
	case dpkgFile(p):
		wanted = append(wanted, analyzer{nameDpkg, l.opts.MaxFile, l.dpkgFile})
	case dpkgCopyright(p):
		wanted = append(wanted, analyzer{nameDpkgLicense, small, l.copyright})
	case apkFile(p):
		wanted = append(wanted, analyzer{nameApk, l.opts.MaxFile, l.apk})
	case p == apkRepositories:
		wanted = append(wanted, analyzer{nameApkRepo, small, l.apkRepository})
	case rpmFile(p):
		wanted = append(wanted, analyzer{nameRpm, min(l.opts.MaxArchive, maxRpmDatabase), l.rpm})
	case p == rpmManifest:
		wanted = append(wanted, analyzer{nameRpmManifest, l.opts.MaxFile, l.rpmManifest})
	case bottlerocketFile(p):
		wanted = append(wanted, analyzer{nameBottlerocket, small, l.bottlerocket})
	case contentManifest(p):
		wanted = append(wanted, analyzer{nameContentSets, small, l.contentSets})
	case buildDockerfile(p):
		wanted = append(wanted, analyzer{nameBuildDockerfile, small, l.buildDockerfile})
	}
	return wanted
}

// addPackages notes what a package manager lists in the file at p. A tar may
// carry a path twice; the later entry is the file.
func (l *layer) addPackages(p string, pkgs ftypes.Packages) {
	l.result.Packages = slices.DeleteFunc(l.result.Packages, func(i ftypes.PackageInfo) bool { return i.FilePath == p })
	l.result.Packages = append(l.result.Packages, ftypes.PackageInfo{FilePath: p, Packages: pkgs})
}

// install notes files that a package manager put into the image.
func (l *layer) install(files []string) {
	for _, f := range files {
		// The root itself would stand for all packages without a file.
		if f = strings.TrimPrefix(f, "/"); f != "" {
			l.installed[f] = true
		}
	}
}

// finishSystem joins what the files of package managers said each for itself,
// and puts it in an order that does not depend on the tar's.
func (l *layer) finishSystem() {
	l.addDpkgPackages()
	infos := l.result.Packages
	slices.SortStableFunc(infos, func(a, b ftypes.PackageInfo) int { return strings.Compare(a.FilePath, b.FilePath) })
	for _, info := range infos {
		sort.Sort(info.Packages)
	}
}

// Bounds of what the package managers of one layer may list: their databases
// are small, but a few bytes in them can stand for many in memory. An image has no
// more packages either.
const (
	maxPackages = 100_000   // all of Debian has 70,000
	maxNames    = 128 << 20 // bytes of names: of files, of what is provided and needed. A desktop has 50 MB.
)

// listing counts what is listed.
type listing struct {
	packages int
	names    int
}

// errListing is what is wrong with a database that lists too much.
var errListing = errors.New("too much is listed")

func (l *listing) addPackage() error {
	if l.packages++; l.packages > maxPackages {
		return fmt.Errorf("%w: more than %d packages", errListing, maxPackages)
	}
	return nil
}

func (l *listing) addNames(names ...string) error {
	for _, n := range names {
		if err := l.addName(len(n)); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) addName(length int) error {
	const header = 16 // bytes that any string takes
	if l.names += header + length; l.names > maxNames {
		return fmt.Errorf("%w: names of more than %d bytes", errListing, maxNames)
	}
	return nil
}

// maxComplaints is how many errors in one file are told one by one.
const maxComplaints = 5

// complaints are the errors in one file, of which a hostile one has millions.
type complaints struct {
	first []error
	more  int
}

func (c *complaints) add(err error) {
	switch {
	case err == nil:
	case len(c.first) < maxComplaints:
		c.first = append(c.first, err)
	default:
		c.more++
	}
}

func (c *complaints) err() error {
	if c.more > 0 {
		return errors.Join(append(c.first, fmt.Errorf("and %d more", c.more))...)
	}
	return errors.Join(c.first...)
}
