package analysis

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/nodejs/packagejson"
	"github.com/aquasecurity/trivy/pkg/dependency/parser/python/packaging"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	"github.com/imagewright/imagewright/internal/image"
)

const (
	nameNode   = "node-pkg"
	namePython = "python-pkg"
	nameEgg    = "python-egg"
)

// maxMetadata bounds one metadata file inside an archive (bytes, uncompressed);
// real ones are a few KB.
const maxMetadata = 10 << 20

// languageAnalyzers returns who wants a file because a language's package
// manager wrote it.
func (l *layer) languageAnalyzers(e image.Entry) []analyzer {
	switch p := e.Path; {
	case path.Base(p) == "package.json":
		return []analyzer{{nameNode, l.opts.MaxFile, l.nodePackage}}
	case pythonMetadata(p):
		return []analyzer{{namePython, l.opts.MaxFile, l.pythonPackage}}
	case path.Ext(p) == ".egg":
		return []analyzer{{nameEgg, l.opts.MaxArchive, l.pythonEgg}}
	}
	return nil
}

// addApplication notes the packages found in the file at p, unless there are
// none. A package's FilePath, where empty, becomes filePath.
func (l *layer) addApplication(kind ftypes.LangType, analyzedBy ftypes.AnalyzerType, p, filePath string, pkgs []ftypes.Package, deps []ftypes.Dependency) {
	if len(pkgs) == 0 {
		return
	}
	dependsOn := map[string][]string{}
	for _, d := range deps {
		dependsOn[d.ID] = d.DependsOn
	}
	for i := range pkgs {
		pkg := &pkgs[i]
		if pkg.FilePath == "" {
			pkg.FilePath = filePath
		}
		pkg.DependsOn = dependsOn[pkg.ID]
		pkg.Indirect = pkg.Relationship == ftypes.RelationshipIndirect
		pkg.AnalyzedBy = analyzedBy
		pkg.Licenses = licensing.NormalizeLicenses(slices.DeleteFunc(pkg.Licenses, func(name string) bool {
			// Names a file to guess a licence from; licences are not what a scan looks for.
			return strings.HasPrefix(name, licensing.LicenseFilePrefix)
		}))
	}
	// A tar may carry a path twice; the later entry is the file.
	l.result.Applications = slices.DeleteFunc(l.result.Applications, func(a ftypes.Application) bool {
		return a.FilePath == p && a.Type == kind
	})
	l.result.Applications = append(l.result.Applications, ftypes.Application{Type: kind, FilePath: p, Packages: pkgs})
}

// nodePackage reads a package.json; one without name or version is not a
// package's.
func (l *layer) nodePackage(_ context.Context, p string, c *content) error {
	pkg, err := packagejson.NewParser().Parse(c)
	if err != nil {
		if !npmPackageRoot(p) {
			// Packages carry broken package.json files for their own tests, and
			// npm itself would never read one there.
			return nil
		}
		return err
	}
	if pkg.ID == "" {
		return nil
	}
	l.addApplication(ftypes.NodePkg, nameNode, p, p, []ftypes.Package{pkg.Package}, nil)
	return nil
}

// npmPackageRoot reports whether p is where npm looks for a package's
// package.json: anywhere outside node_modules; inside, only at
// node_modules/name/ and node_modules/@scope/name/.
func npmPackageRoot(p string) bool {
	dirs := strings.Split(path.Dir(p), "/")
	for i := len(dirs) - 1; i >= 0; i-- {
		if dirs[i] != "node_modules" {
			continue
		}
		name := dirs[i+1:]
		return len(name) == 1 && !strings.HasPrefix(name[0], "@") ||
			len(name) == 2 && strings.HasPrefix(name[0], "@")
	}
	return true
}

// pythonMetadata reports whether p describes an installed Python distribution:
// a wheel's .dist-info/METADATA, or what eggs have.
func pythonMetadata(p string) bool {
	return path.Base(p) == "METADATA" && strings.Contains(p, ".dist-info") || eggMetadata(p)
}

func eggMetadata(p string) bool {
	for _, end := range []string{"EGG-INFO/PKG-INFO", ".egg-info", ".egg-info/PKG-INFO", ".egg-info/METADATA"} {
		if strings.HasSuffix(p, end) {
			return true
		}
	}
	return false
}

func (l *layer) pythonPackage(ctx context.Context, p string, c *content) error {
	pkgs, deps, err := packaging.NewParser().Parse(ctx, c)
	if err != nil {
		return err
	}
	l.addApplication(ftypes.PythonPkg, namePython, p, p, pkgs, deps)
	return nil
}

// pythonEgg looks for the metadata in a zipped egg.
func (l *layer) pythonEgg(ctx context.Context, p string, c *content) error {
	zr, err := zip.NewReader(c, c.size)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(zr.File, func(f *zip.File) bool { return eggMetadata(f.Name) })
	if i < 0 {
		return nil
	}
	metadata, err := zipped(zr.File[i])
	if err != nil {
		return err
	}
	pkgs, deps, err := packaging.NewParser().Parse(ctx, metadata)
	if err != nil {
		return err
	}
	l.addApplication(ftypes.PythonPkg, nameEgg, p, p, pkgs, deps)
	return nil
}

// zipped reads a metadata file in an archive.
func zipped(f *zip.File) (*content, error) {
	if f.UncompressedSize64 > maxMetadata {
		return nil, fmt.Errorf("%s: %w", f.Name, errTooLarge)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	defer r.Close()
	c, err := newContent(r, int64(f.UncompressedSize64), "", nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	// The checksum is compared when the end is reached.
	if _, err := r.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return c, nil
}
