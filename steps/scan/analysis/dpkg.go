package analysis

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/textproto"
	"path"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/digest"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	debversion "github.com/knqyf263/go-deb-version"
)

const (
	nameDpkg      = "dpkg"
	dpkgDir       = "var/lib/dpkg/"
	dpkgStatus    = dpkgDir + "status"
	dpkgAvailable = dpkgDir + "available"
	dpkgInfoDir   = dpkgDir + "info/"     // one .md5sums a package
	dpkgStatusDir = dpkgDir + "status.d/" // distroless: one status file and one .md5sums a package
	md5sums       = ".md5sums"
)

func dpkgFile(p string) bool {
	switch dir, base := path.Split(p); dir {
	case dpkgDir:
		return p == dpkgStatus || p == dpkgAvailable
	case dpkgInfoDir:
		return strings.HasSuffix(base, md5sums)
	case dpkgStatusDir:
		return true
	}
	return false
}

// dpkgFiles is what the files of dpkg say, each for itself; packages joins them
// once all are there, for a layer may carry them in any order.
type dpkgFiles struct {
	status  map[string]ftypes.Packages // by path of the status file
	files   map[string][]string        // installed files by package, or package:architecture
	digests map[string]string          // SHA-256 of the .deb by package@version
}

func newDpkgFiles() dpkgFiles {
	return dpkgFiles{map[string]ftypes.Packages{}, map[string][]string{}, map[string]string{}}
}

func (d *dpkgFiles) parse(_ context.Context, p string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	switch {
	case strings.HasSuffix(p, md5sums):
		files, err := md5sumsFiles(data)
		d.files[strings.TrimSuffix(path.Base(p), md5sums)] = files
		return err
	case p == dpkgAvailable:
		// Its digests only adorn reports, so what can't be read is no loss.
		_ = eachParagraph(data, func(h textproto.MIMEHeader) error {
			if sum := h.Get("SHA256"); sum != "" {
				d.digests[h.Get("Package")+"@"+h.Get("Version")] = sum
			}
			return nil
		})
		return nil
	}
	pkgs, err := dpkgPackages(data)
	d.status[p] = pkgs
	return err
}

// packages returns the packages of each status file and adds their files to
// installed.
func (d *dpkgFiles) packages(installed map[string]bool) []ftypes.PackageInfo {
	var infos []ftypes.PackageInfo
	for _, p := range slices.Sorted(maps.Keys(d.status)) {
		pkgs := d.status[p]
		for i := range pkgs {
			pkg := &pkgs[i]
			if sum := d.digests[pkg.ID]; sum != "" {
				pkg.Digest = digest.NewDigestFromString(digest.SHA256, sum)
			}
			// A stranger's package may carry npm or Python packages that no
			// distribution's advisory speaks for: they stay visible.
			if thirdParty(pkg.Maintainer) {
				pkg.Repository.Class = ftypes.RepositoryClassThirdParty
				continue
			}
			pkg.Repository.Class = ftypes.RepositoryClassOfficial
			files, ok := d.files[pkg.Name]
			if !ok {
				files = d.files[pkg.Name+":"+pkg.Arch]
			}
			pkg.InstalledFiles = files
			for _, f := range files {
				installed[strings.TrimPrefix(f, "/")] = true
			}
		}
		infos = append(infos, ftypes.PackageInfo{FilePath: p, Packages: pkgs})
	}
	return infos
}

// md5sumsFiles reads "digest, two spaces, path" lines; see deb-md5sums(5).
func md5sumsFiles(data []byte) ([]string, error) {
	var files []string
	for line := range strings.Lines(string(data)) {
		_, file, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "  ")
		if !ok {
			return nil, fmt.Errorf("line %q is not a digest and a path", shorten(line))
		}
		files = append(files, "/"+file)
	}
	slices.Sort(files)
	return files, nil
}

// eachParagraph calls each for every paragraph of a control file, and goes on
// after errors, which it returns joined.
func eachParagraph(data []byte, each func(textproto.MIMEHeader) error) error {
	var errs []error
	for paragraph := range bytes.SplitSeq(data, []byte("\n\n")) {
		paragraph = bytes.TrimLeft(paragraph, "\r\n")
		if len(paragraph) == 0 {
			continue
		}
		r := bufio.NewReader(bytes.NewReader(paragraph))
		h, err := textproto.NewReader(r).ReadMIMEHeader()
		// An empty line that ends otherwise (\r\n) would hide what follows.
		if rest, _ := io.ReadAll(r); err == nil && len(bytes.TrimSpace(rest)) > 0 {
			err = errors.New("it goes on after an empty line")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			line, _, _ := bytes.Cut(paragraph, []byte("\n"))
			errs = append(errs, fmt.Errorf("paragraph %q: %w", shorten(string(line)), err))
			continue
		}
		if err := each(h); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dpkgPackages returns the installed packages of a status file. A paragraph it
// can't read is left out and told in the error.
func dpkgPackages(data []byte) (ftypes.Packages, error) {
	var pkgs ftypes.Packages
	at := map[string]int{}        // by ID, which is unique: a later paragraph replaces
	byName := map[string]string{} // name to ID
	err := eachParagraph(data, func(h textproto.MIMEHeader) error {
		pkg, err := dpkgPackage(h)
		if err != nil || pkg.Name == "" {
			return err
		}
		byName[pkg.Name] = pkg.ID
		if i, ok := at[pkg.ID]; ok {
			pkgs[i] = pkg
			return nil
		}
		at[pkg.ID] = len(pkgs)
		pkgs = append(pkgs, pkg)
		return nil
	})
	for i := range pkgs {
		pkgs[i].DependsOn = resolve(pkgs[i].DependsOn, byName)
	}
	return pkgs, err
}

// dpkgPackage returns a package without a name for one that is not installed.
func dpkgPackage(h textproto.MIMEHeader) (ftypes.Package, error) {
	for _, word := range strings.Fields(h.Get("Status")) {
		if word == "deinstall" || word == "purge" {
			return ftypes.Package{}, nil
		}
	}
	name, version := h.Get("Package"), h.Get("Version")
	if name == "" || version == "" {
		return ftypes.Package{}, nil
	}
	srcName, srcVersion := dpkgSource(h.Get("Source"))
	srcName, srcVersion = cmp.Or(srcName, name), cmp.Or(srcVersion, version)
	v, err := debversion.NewVersion(version)
	if err != nil {
		return ftypes.Package{}, fmt.Errorf("package %s: version %q: %w", name, version, err)
	}
	sv, err := debversion.NewVersion(srcVersion)
	if err != nil {
		return ftypes.Package{}, fmt.Errorf("package %s: source version %q: %w", name, srcVersion, err)
	}
	return ftypes.Package{
		ID:         name + "@" + version,
		Name:       name,
		Version:    v.Version(),
		Epoch:      v.Epoch(),
		Release:    v.Revision(),
		SrcName:    srcName,
		SrcVersion: sv.Version(),
		SrcEpoch:   sv.Epoch(),
		SrcRelease: sv.Revision(),
		Arch:       h.Get("Architecture"),
		Maintainer: h.Get("Maintainer"),
		DependsOn:  dpkgDepends(h.Get("Depends")),
		AnalyzedBy: nameDpkg,
	}, nil
}

// dpkgSource reads "glibc (2.36-9)". dpkg leaves the version out where it is
// the package's, and the field where the name is, too.
func dpkgSource(field string) (name, version string) {
	name, version, _ = strings.Cut(field, " (")
	version = strings.TrimSuffix(strings.TrimSpace(version), ")")
	return strings.TrimSpace(name), strings.TrimSpace(version)
}

// dpkgDepends returns the names in "libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0".
func dpkgDepends(field string) []string {
	var names []string
	for d := range strings.FieldsFuncSeq(field, func(r rune) bool { return r == ',' || r == '|' }) {
		d, _, _ = strings.Cut(d, "(")
		names = append(names, strings.TrimSpace(d))
	}
	return names
}

// resolve replaces names by IDs, sorted, each once; unknown ones are left out.
func resolve(names []string, ids map[string]string) []string {
	var resolved []string
	for _, n := range names {
		if id, ok := ids[n]; ok {
			resolved = append(resolved, id)
		}
	}
	slices.Sort(resolved)
	return slices.Compact(resolved)
}

// thirdParty reports whether a package comes from a vendor's own repository,
// which only its maintainer gives away. The list is Trivy's, see
// https://github.com/aquasecurity/trivy/issues/9916.
func thirdParty(maintainer string) bool {
	if maintainer == "GitHub" || maintainer == "HashiCorp" {
		return true
	}
	return slices.ContainsFunc([]string{
		"support@docker.com", "@nvidia.com", "Google Cloud CLI Authors", "sapmachine@sap.com", "@hashicorp.com",
		"@microsoft.com", "@mongodb.com", "developers@lists.mariadb.org", "dev@couchdb.apache.org", "info@elastic.co",
		"nginx-packaging@f5.com", "@konghq.com", "@cloudflare.com", "support@influxdb.com", "support@gitlab.com",
		"contact@grafana.com", "@datadoghq.com", "@nodesource.com", "info@tailscale.com", "@openrobotics.org",
		"@osrfoundation.org",
	}, func(part string) bool { return strings.Contains(maintainer, part) })
}
