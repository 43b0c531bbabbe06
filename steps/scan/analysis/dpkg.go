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

// maxParagraph bounds one package's paragraph (bytes); the largest known are a
// tenth of it. Trivy drops a file with one over 128 KiB whole.
const maxParagraph = 1 << 20

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

// dpkgFiles is what the files of dpkg say, each for itself: a layer may carry
// them in any order.
type dpkgFiles struct {
	status  map[string]ftypes.Packages // by path of the status file
	files   map[string][]string        // installed files by path of the .md5sums
	digests map[string]string          // SHA-256 of the .deb by package@version
}

func newDpkgFiles() dpkgFiles {
	return dpkgFiles{map[string]ftypes.Packages{}, map[string][]string{}, map[string]string{}}
}

// dpkgFile notes what one file of dpkg says.
func (l *layer) dpkgFile(_ context.Context, p string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	switch {
	case strings.HasSuffix(p, md5sums):
		files, err := md5sumsFiles(data, &l.listing)
		if errors.Is(err, errListing) {
			return err
		}
		// A list in another form, as some vendors' tools write it, hides nothing.
		if err == nil {
			l.dpkg.files[p] = files
		}
	case p == dpkgAvailable:
		// Its digests only adorn reports, so what can't be read is no loss.
		_ = eachParagraph(data, func(h textproto.MIMEHeader) error {
			if sum := h.Get("SHA256"); sum != "" {
				l.dpkg.digests[h.Get("Package")+"@"+h.Get("Version")] = sum
			}
			return nil
		})
	default:
		l.dpkg.status[p], err = dpkgPackages(data, &l.listing)
		return err
	}
	return nil
}

// addDpkgPackages adds the packages of each status file with their files.
func (l *layer) addDpkgPackages() {
	// By package, or package:architecture. Distroless's lists, later in the
	// alphabet, count over those of dpkg itself.
	lists := map[string][]string{}
	for _, p := range slices.Sorted(maps.Keys(l.dpkg.files)) {
		lists[strings.TrimSuffix(path.Base(p), md5sums)] = l.dpkg.files[p]
	}
	for p, pkgs := range l.dpkg.status {
		for i := range pkgs {
			pkg := &pkgs[i]
			if sum := l.dpkg.digests[pkg.ID]; sum != "" {
				pkg.Digest = digest.NewDigestFromString(digest.SHA256, sum)
			}
			// A stranger's package may carry npm or Python packages that no
			// distribution's advisory speaks for: they stay visible.
			if thirdParty(pkg.Maintainer) {
				pkg.Repository.Class = ftypes.RepositoryClassThirdParty
				continue
			}
			pkg.Repository.Class = ftypes.RepositoryClassOfficial
			files, ok := lists[pkg.Name]
			if !ok {
				files = lists[pkg.Name+":"+pkg.Arch]
			}
			pkg.InstalledFiles = files
			l.install(files)
		}
		l.result.Packages = append(l.result.Packages, ftypes.PackageInfo{FilePath: p, Packages: pkgs})
	}
}

// md5sumsFiles reads "digest, two spaces, path" lines; see deb-md5sums(5).
func md5sumsFiles(data []byte, listed *listing) ([]string, error) {
	var files []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		_, file, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			return nil, fmt.Errorf("line %q is not a digest and a path", shorten(lines.Text()))
		}
		if err := listed.addName(len(file) + 1); err != nil {
			return nil, err
		}
		files = append(files, "/"+file)
	}
	slices.Sort(files)
	return files, lines.Err()
}

// eachParagraph calls each for every paragraph of a control file, and goes on
// after errors, which it returns joined.
func eachParagraph(data []byte, each func(textproto.MIMEHeader) error) error {
	var errs complaints
	for paragraph := range bytes.SplitSeq(data, []byte("\n\n")) {
		// Trivy does not see a paragraph after two empty lines; dpkg does.
		paragraph = bytes.TrimLeft(paragraph, "\r\n")
		if len(paragraph) == 0 {
			continue
		}
		h, err := readParagraph(paragraph)
		if err != nil {
			line, _, _ := bytes.Cut(paragraph, []byte("\n"))
			errs.add(fmt.Errorf("paragraph %q: %w", shorten(string(line[:min(len(line), maxReason)])), err))
			continue
		}
		err = each(h)
		if errs.add(err); errors.Is(err, errListing) {
			break
		}
	}
	return errs.err()
}

func readParagraph(paragraph []byte) (textproto.MIMEHeader, error) {
	if len(paragraph) > maxParagraph {
		return nil, errTooLarge
	}
	r := bufio.NewReader(bytes.NewReader(paragraph))
	h, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// An empty line that ends otherwise (\r\n) would hide what follows.
	if rest, _ := io.ReadAll(r); err == nil && len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it goes on after an empty line")
	}
	return h, nil
}

// dpkgPackages returns the installed packages of a status file. A paragraph it
// can't read is left out and told in the error.
func dpkgPackages(data []byte, listed *listing) (ftypes.Packages, error) {
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
		if err := errors.Join(listed.addPackage(), listed.addNames(pkg.DependsOn...)); err != nil {
			return err
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

// dpkgSource reads "glibc (2.36-9)": a word, one space, a version in brackets.
// dpkg leaves the version out where it is the package's, and the field where
// the name is, too.
func dpkgSource(field string) (name, version string) {
	end := strings.IndexAny(field, " \t\n\f\r")
	if end < 0 {
		return field, ""
	}
	name = field[:end]
	if inside, ok := strings.CutPrefix(field[end:], " ("); ok {
		if end := strings.LastIndexByte(inside, ')'); end >= 0 {
			version = strings.TrimSpace(inside[:end])
		}
	}
	return name, version
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
