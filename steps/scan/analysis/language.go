package analysis

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/nodejs/packagejson"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	xio "github.com/aquasecurity/trivy/pkg/x/io"

	"github.com/imagewright/imagewright/internal/image"
)

const nameNode = "node-pkg"

// maxManifest bounds a file that lists packages (bytes); the largest known are
// of a few MB.
const maxManifest = 16 << 20

// inPackageJSON bounds a package.json. Old versions of npm put the package's
// read-me into it.
var inPackageJSON = bounds{size: maxManifest, depth: 100, values: 1 << 20, text: noText}

// languageAnalyzers returns who wants a file because a language's package
// manager wrote it.
//
// Lock files are not among them, as an image shows what is installed; but those
// of Cargo, Julia and NuGet are: Trivy counts them as installed packages.
func (l *layer) languageAnalyzers(e image.Entry) []analyzer {
	p, limit := e.Path, min(l.opts.MaxFile, maxManifest)
	wanted := l.byName(path.Base(p), limit)
	if a, ok := l.byPath(p, limit); ok {
		wanted = append(wanted, a)
	}
	if condaMetadata(p) {
		wanted = append(wanted, analyzer{nameConda, limit, l.condaPackage})
	}
	if shippedBOM(p) {
		wanted = append(wanted, analyzer{nameBOM, l.opts.MaxFile, l.bom})
	}
	if len(wanted) > 0 && forTests(p) {
		for i := range wanted {
			wanted[i].parse = forgiving(wanted[i].parse)
		}
	}
	return wanted
}

func (l *layer) byName(base string, limit int64) []analyzer {
	switch base {
	case "package.json":
		return []analyzer{{nameNode, limit, l.nodePackage}}
	case ftypes.ComposerInstalledJson:
		return []analyzer{{nameComposer, limit, l.composerInstalled}}
	case ftypes.NuGetPkgsLock:
		return []analyzer{{nameNuGet, limit, l.nugetLock}}
	case ftypes.NuGetPkgsConfig:
		return []analyzer{{nameNuGet, limit, l.nugetConfig}}
	case ftypes.CargoLock:
		return []analyzer{{nameCargo, limit, l.cargoLock}}
	case ftypes.CargoToml:
		return []analyzer{{nameCargo, l.opts.MaxFile, l.cargoManifest}}
	case ftypes.JuliaManifest:
		return []analyzer{{nameJulia, limit, l.juliaManifest}}
	case ftypes.JuliaProject:
		return []analyzer{{nameJulia, l.opts.MaxFile, l.juliaProject}}
	}
	return nil
}

func (l *layer) byPath(p string, limit int64) (analyzer, bool) {
	switch {
	case pythonMetadata(p):
		return analyzer{namePython, l.opts.MaxFile, l.pythonPackage}, true
	case path.Ext(p) == ".egg":
		return analyzer{nameEgg, l.opts.MaxArchive, l.pythonEgg}, true
	case gemSpecification(p):
		return analyzer{nameGem, limit, l.gem}, true
	case strings.HasSuffix(p, ".deps.json"):
		return analyzer{nameDotNet, limit, l.dotnetDeps}, true
	case strings.HasSuffix(strings.ToLower(p), "packages.props"):
		return analyzer{nameProps, limit, l.packagesProps}, true
	}
	return analyzer{}, false
}

// ofLanguage reports whether an analyzer's files are those of a language, and
// so known by the distribution's package alone where that installed them.
func ofLanguage(analyzer string) bool {
	switch analyzer {
	case nameNode, namePython, nameEgg, nameGem, nameConda, nameDotNet, nameNuGet, nameProps, nameComposer,
		nameCargo, nameJulia, nameBOM, nameGoBinary, nameRustBinary, nameJar:
		return true
	}
	return false
}

// forTests reports whether p is where programs keep files for their own tests.
func forTests(p string) bool {
	for dir := range strings.SplitSeq(path.Dir(p), "/") {
		switch dir {
		case "test", "tests", "testdata", "fixtures":
			return true
		}
	}
	return false
}

// forgiving reports only what was not read. What is broken among files for tests
// is so on purpose: nothing was ever installed from it.
func forgiving(parse parseFunc) parseFunc {
	return func(ctx context.Context, p string, c *content) error {
		if err := parse(ctx, p, c); errors.Is(err, errTooLarge) {
			return err
		}
		return nil
	}
}

type parseFunc = func(ctx context.Context, p string, c *content) error

// parser is one of Trivy's.
type parser interface {
	Parse(context.Context, xio.ReadSeekerAt) ([]ftypes.Package, []ftypes.Dependency, error)
}

// application notes the packages that with finds in the file at p.
func (l *layer) application(ctx context.Context, kind ftypes.LangType, by ftypes.AnalyzerType, p, filePath string, r xio.ReadSeekerAt, with parser) error {
	pkgs, deps, err := with.Parse(ctx, r)
	if err != nil {
		return err
	}
	l.addApplication(kind, by, p, filePath, pkgs, deps)
	return nil
}

// addApplication notes the packages found in the file at p, unless there are
// none. A package's FilePath, where empty, becomes filePath.
func (l *layer) addApplication(kind ftypes.LangType, analyzedBy ftypes.AnalyzerType, p, filePath string, pkgs []ftypes.Package, deps []ftypes.Dependency) {
	if app, ok := newApplication(kind, analyzedBy, p, filePath, pkgs, deps); ok {
		l.keep(app)
	}
}

// newApplication makes an application of what a parser found, if it found
// anything. Packages for development alone are left out: Trivy reports none of
// an image.
func newApplication(kind ftypes.LangType, analyzedBy ftypes.AnalyzerType, p, filePath string, pkgs []ftypes.Package, deps []ftypes.Dependency) (ftypes.Application, bool) {
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
	found := len(pkgs) > 0
	pkgs = slices.DeleteFunc(pkgs, func(p ftypes.Package) bool { return p.Dev })
	return ftypes.Application{Type: kind, FilePath: p, Packages: pkgs}, found
}

// appKey is what two applications of a layer differ in.
type appKey struct {
	path      string
	kind      ftypes.LangType
	described bool // by an SBOM
}

// keep notes an application. A tar may carry a path twice; the later entry is
// the file.
func (l *layer) keep(app ftypes.Application) {
	l.packages += len(app.Packages)
	key := appKey{app.FilePath, app.Type, analyzedBy(app) == nameBOM}
	if i, ok := l.apps[key]; ok {
		l.result.Applications[i] = app
		return
	}
	if l.apps == nil {
		l.apps = map[appKey]int{}
	}
	l.apps[key] = len(l.result.Applications)
	l.result.Applications = append(l.result.Applications, app)
}

// analyzedBy returns who found the application.
func analyzedBy(app ftypes.Application) ftypes.AnalyzerType {
	if len(app.Packages) > 0 {
		return app.Packages[0].AnalyzedBy
	}
	return ftypes.AnalyzerType(app.Type) // the name of it, where nothing may be left of what was found
}

// finishLanguages joins what needs the whole layer.
func (l *layer) finishLanguages() {
	l.joinCargo()
	l.joinJulia()
	l.dropDescribed()
}

// nodePackage reads a package.json; one without name or version is not a
// package's.
func (l *layer) nodePackage(_ context.Context, p string, c *content) error {
	pkg, err := parsePackageJSON(c)
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

func parsePackageJSON(c *content) (packagejson.Package, error) {
	if err := inPackageJSON.json(c); err != nil {
		return packagejson.Package{}, err
	}
	return packagejson.NewParser().Parse(c)
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
