package analysis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aquasecurity/trivy/pkg/digest"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	rpmdb "github.com/knqyf263/go-rpmdb/pkg"
)

const nameRpm = "rpm"

// maxRpmDatabase bounds a database of rpm (bytes); that of a full workstation
// has 150 MB.
const maxRpmDatabase = 512 << 20

// rpmFile reports whether the file at p is a database of rpm. Its name promises
// a format; what is in it counts.
func rpmFile(p string) bool {
	switch p {
	case "var/lib/rpm/Packages", "usr/lib/sysimage/rpm/Packages", // Berkeley DB
		"var/lib/rpm/Packages.db", "usr/lib/sysimage/rpm/Packages.db", // ndb
		"var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite",
		"usr/share/rpm/rpmdb.sqlite": // CoreOS
		return true
	}
	return false
}

// rpm reads a database of rpm. Of a damaged one it takes what comes before the
// damage.
func (l *layer) rpm(ctx context.Context, p string, c *content) error {
	list := rpmList{listed: &l.listing, providers: map[string]string{}}
	headers := rpmHeaders{tempDir: l.opts.TempDir, each: list.add}
	db := rpmDatabase{content: c, tempDir: l.opts.TempDir, left: c.size, each: headers.add}
	err := errors.Join(db.read(ctx), headers.flush())
	l.install(list.installed)
	l.addPackages(p, list.packages())
	return err
}

// rpmList is what a database lists.
type rpmList struct {
	listed    *listing
	pkgs      ftypes.Packages
	providers map[string]string // what is provided, to package ID
	installed []string
}

// add takes the next package. Advisories of Red Hat's relatives name the
// package, those of others the source it was built from.
func (r *rpmList) add(info *rpmdb.PackageInfo) error {
	if err := errors.Join(r.listed.addPackage(), r.listed.addNames(info.Provides...), r.listed.addNames(info.Requires...)); err != nil {
		return err
	}
	pkg := ftypes.Package{
		ID:              fmt.Sprintf("%s@%s-%s.%s", info.Name, info.Version, info.Release, info.Arch),
		Name:            info.Name,
		Epoch:           info.EpochNum(),
		Version:         info.Version,
		Release:         info.Release,
		Arch:            info.Arch,
		SrcEpoch:        info.EpochNum(), // rpm does not note the source's own
		Modularitylabel: info.Modularitylabel,
		Maintainer:      info.Vendor,
		DependsOn:       info.Requires, // until all providers are known
		AnalyzedBy:      nameRpm,
	}
	if pkg.Arch == "" {
		pkg.Arch = "None" // as rpm itself prints it; keys of vendors have none
	}
	if info.SourceRpm != "" && info.SourceRpm != "(none)" {
		pkg.SrcName, pkg.SrcVersion, pkg.SrcRelease, _ = splitRpmName(info.SourceRpm)
	}
	if info.License != "" {
		pkg.Licenses = []string{info.License}
	}
	if info.SigMD5 != "" {
		pkg.Digest = digest.NewDigestFromString(digest.MD5, info.SigMD5)
	}
	pkg.Repository.Class = ftypes.RepositoryClassThirdParty
	if rpmOfVendor(info) {
		// Only the distribution's own advisories speak for what is inside.
		pkg.Repository.Class = ftypes.RepositoryClassOfficial
		var err error
		if pkg.InstalledFiles, err = r.files(info); err != nil {
			return fmt.Errorf("package %s: %w", shorten(info.Name), err)
		}
		r.installed = append(r.installed, pkg.InstalledFiles...)
	}
	r.pkgs = append(r.pkgs, pkg)
	for _, name := range info.Provides {
		r.providers[name] = pkg.ID
	}
	return nil
}

// files returns the files of a package. Its header names each directory once,
// so that few bytes can stand for many: they are counted first.
func (r *rpmList) files(info *rpmdb.PackageInfo) ([]string, error) {
	if len(info.DirNames) == 0 || len(info.BaseNames) == 0 || len(info.DirIndexes) != len(info.BaseNames) {
		return info.InstalledFileNames() // none, or an error
	}
	for i, base := range info.BaseNames {
		dir := info.DirIndexes[i]
		if dir < 0 || int(dir) >= len(info.DirNames) {
			return nil, fmt.Errorf("file %d is in directory %d of %d", i, dir, len(info.DirNames))
		}
		if err := r.listed.addName(len(info.DirNames[dir]) + len(base)); err != nil {
			return nil, err
		}
	}
	return info.InstalledFileNames()
}

// packages returns all packages, what they require replaced by the IDs of those
// that provide it.
func (r *rpmList) packages() ftypes.Packages {
	for i := range r.pkgs {
		pkg := &r.pkgs[i]
		var others []string
		for _, name := range pkg.DependsOn {
			if r.providers[name] != pkg.ID {
				others = append(others, name)
			}
		}
		pkg.DependsOn = resolve(others, r.providers)
	}
	return r.pkgs
}

// splitRpmName takes foo-1.0-1.src.rpm apart. It reports false for what has
// another form.
func splitRpmName(file string) (name, version, release string, ok bool) {
	file = strings.TrimSuffix(file, ".rpm")
	arch := strings.LastIndexByte(file, '.')
	if arch < 0 {
		return "", "", "", false
	}
	r := strings.LastIndexByte(file[:arch], '-')
	if r < 0 {
		return "", "", "", false
	}
	v := strings.LastIndexByte(file[:r], '-')
	if v < 0 {
		return "", "", "", false
	}
	return file[:v], file[v+1 : r], file[r+1 : arch], true
}

// rpmOfVendor reports whether the distribution itself made the package.
func rpmOfVendor(info *rpmdb.PackageInfo) bool {
	if info.Vendor == "" {
		// Some of Amazon's name none: https://github.com/aquasecurity/trivy/issues/5887
		return strings.Contains(info.Release, "amzn")
	}
	for _, vendor := range []string{
		"Amazon Linux", "Amazon.com", // of version 1, and of 2 on
		"CentOS", "Fedora Project", "Oracle America", "Red Hat", "AlmaLinux", "CloudLinux", "Rocky",
		"VMware",           // Photon OS
		"SUSE", "openSUSE", // SUSE Linux Enterprise and openSUSE
		"Microsoft Corporation", // CBL-Mariner
	} {
		if strings.HasPrefix(info.Vendor, vendor) {
			return true
		}
	}
	return false
}
