package analysis

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/aquasecurity/go-version/pkg/semver"
	"github.com/aquasecurity/go-version/pkg/version"
	"github.com/aquasecurity/trivy/pkg/dependency/parser/rust/cargo"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameCargo = "cargo"

// inTOML bounds a lock file. A version in it is copied for each package that
// asks for it.
var inTOML = bounds{size: maxManifest, depth: 8, values: 200_000, text: 1 << 10}

// inCargoManifest bounds a Cargo.toml, which can have the description in it.
var inCargoManifest = bounds{size: 1 << 20, depth: 16, values: 50_000, text: 64 << 10}

// Bounds of what is kept of a layer until its end, and done with it there.
const (
	maxCargoManifests = 64 << 20  // bytes of Cargo.toml
	maxCargoWork      = 128 << 20 // bytes of Cargo.toml read, and 64 for each path compared
)

// cargoFiles are what Cargo has to do with in a layer. What a project depends on
// itself, and not only its tests do, stands in Cargo.toml, and Cargo.lock does
// not know.
type cargoFiles struct {
	locks     []ftypes.Application
	manifests map[string][]byte // Cargo.toml by path
	size      int               // of manifests
	work      int               // left to do
}

func (l *layer) cargoLock(ctx context.Context, p string, c *content) error {
	if err := inTOML.toml(c); err != nil {
		return err
	}
	pkgs, deps, err := cargo.NewParser().Parse(ctx, c)
	if err != nil {
		return err
	}
	if app, ok := newApplication(ftypes.Cargo, nameCargo, p, "", pkgs, deps); ok {
		l.cargo.locks = append(l.cargo.locks, app)
	}
	return nil
}

// cargoManifest keeps a Cargo.toml for the end of the layer. Without it, all that
// is locked counts as installed; so what is too large or broken is left out, and
// nothing is missed.
func (l *layer) cargoManifest(_ context.Context, p string, c *content) error {
	data, err := inCargoManifest.read(c)
	f := &l.cargo
	if err != nil || f.size+len(data) > maxCargoManifests {
		return nil
	}
	if f.manifests == nil {
		f.manifests = map[string][]byte{}
	}
	f.size += len(data) - len(f.manifests[p])
	f.manifests[p] = data
	return nil
}

// joinCargo leaves of each lock file what the project is built of.
func (l *layer) joinCargo() {
	f := &l.cargo
	f.work = maxCargoWork
	for _, app := range f.locks {
		if project, ok := f.project(path.Dir(app.FilePath)); ok {
			app.Packages = project.built(app.Packages)
		}
		sort.Sort(app.Packages)
		l.keep(app)
	}
}

// cargoProject is what the Cargo.toml of a project and its members say.
type cargoProject struct {
	root    string            // package ID
	members []string          // theirs
	direct  map[string]string // constraint of a version by crate
}

// project reads the Cargo.toml in dir, and those of its members.
func (f *cargoFiles) project(dir string) (cargoProject, bool) {
	main, ok := f.manifest(path.Join(dir, ftypes.CargoToml))
	if !ok {
		return cargoProject{}, false
	}
	p := cargoProject{root: main.id("")}
	dependencies := main.dependencies()
	for _, pattern := range main.Workspace.Members {
		for _, file := range f.match(path.Join(dir, pattern, ftypes.CargoToml)) {
			member, ok := f.manifest(file)
			if !ok {
				continue
			}
			p.members = append(p.members, member.id(main.Workspace.Package.Version))
			own := member.dependencies()
			maps.Copy(own, dependencies) // those of the root prevail
			dependencies = own
		}
	}
	if f.work < 0 {
		return cargoProject{}, false
	}
	p.direct = map[string]string{}
	for name, d := range dependencies {
		if table, ok := d.(map[string]any); ok {
			d = table["version"]
		}
		if constraint, ok := d.(string); ok {
			p.direct[name] = constraint
		}
	}
	return p, true
}

func (f *cargoFiles) manifest(p string) (cargoManifest, bool) {
	data, ok := f.manifests[p]
	if f.work -= len(data); !ok || f.work < 0 {
		return cargoManifest{}, false
	}
	m, err := newCargoManifest(data)
	return m, err == nil
}

// match returns the paths of Cargo.toml that a member's pattern means, in order.
func (f *cargoFiles) match(pattern string) []string {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}
	}
	if f.work -= 64 * len(f.manifests); f.work < 0 {
		return nil
	}
	var found []string
	for p := range f.manifests {
		if ok, err := path.Match(pattern, p); err == nil && ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b string) int { // by one directory after the other
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	return found
}

// built returns the packages that the project is built of: those it depends on
// itself, and all that these do.
func (p cargoProject) built(locked ftypes.Packages) ftypes.Packages {
	byName, byID := map[string]ftypes.Packages{}, map[string]ftypes.Package{}
	for _, pkg := range locked {
		byName[pkg.Name] = append(byName[pkg.Name], pkg)
		byID[pkg.ID] = pkg
	}
	pkgs := map[string]ftypes.Package{}
	var next []ftypes.Package
	for name, constraint := range p.direct {
		for _, pkg := range byName[name] {
			if !cargoSatisfies(pkg.Version, constraint) {
				continue
			}
			pkg.Indirect, pkg.Relationship = false, ftypes.RelationshipDirect
			pkgs[pkg.ID] = pkg
			next = append(next, pkg)
			break
		}
	}
	for len(next) > 0 {
		of := next[len(next)-1]
		next = next[:len(next)-1]
		for _, id := range of.DependsOn {
			pkg, ok := byID[id]
			if _, known := pkgs[id]; known || !ok {
				continue
			}
			pkg.Indirect, pkg.Relationship = true, ftypes.RelationshipIndirect
			pkgs[id] = pkg
			next = append(next, pkg)
		}
	}
	p.addOwn(pkgs, byID)
	return slices.SortedFunc(maps.Values(pkgs), func(a, b ftypes.Package) int { return cmp.Compare(a.ID, b.ID) })
}

// addOwn adds the project's own packages.
func (p cargoProject) addOwn(pkgs, locked map[string]ftypes.Package) {
	own := map[string]ftypes.Relationship{}
	for _, id := range p.members {
		own[id] = ftypes.RelationshipWorkspace
	}
	own[p.root] = ftypes.RelationshipRoot
	for id, how := range own {
		if pkg, ok := locked[id]; ok {
			pkg.Indirect, pkg.Relationship = false, how
			pkgs[id] = pkg
		}
	}
	for id := range own {
		if pkg, ok := pkgs[id]; ok {
			pkg.DependsOn = slices.DeleteFunc(slices.Clone(pkg.DependsOn), func(id string) bool {
				_, ok := pkgs[id]
				return !ok // only its tests need it
			})
			pkgs[id] = pkg
		}
	}
	if _, ok := pkgs[p.root]; !ok { // a workspace alone is no package, and not locked
		pkgs[p.root] = ftypes.Package{ID: p.root, Relationship: ftypes.RelationshipRoot, DependsOn: p.members, AnalyzedBy: nameCargo}
	}
}

// cargoSatisfies compares a version with what a Cargo.toml asks for: "1.2" means
// "^1.2" there.
//
// Format: https://doc.rust-lang.org/cargo/reference/specifying-dependencies.html
func cargoSatisfies(v, constraint string) bool {
	if _, err := version.Parse(constraint); err == nil {
		constraint = fmt.Sprintf("^%s", constraint)
	}
	have, err := semver.Parse(v)
	if err != nil {
		return false
	}
	want, err := semver.NewConstraints(constraint)
	return err == nil && want.Check(have)
}
