package analysis

import (
	"context"
	"path"
	"sort"

	"github.com/BurntSushi/toml"
	julia "github.com/aquasecurity/trivy/pkg/dependency/parser/julia/manifest"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameJulia = "julia"

// inJuliaProject bounds a Project.toml.
var inJuliaProject = bounds{size: 1 << 20, depth: 16, values: 50_000, text: 64 << 10}

// maxJuliaProjects bounds what is kept of a layer until its end (names and IDs
// of packages).
const maxJuliaProjects = 1 << 20

// juliaFiles are what Julia's package manager has to do with in a layer.
type juliaFiles struct {
	manifests []ftypes.Application
	projects  map[string]juliaProject // by directory
	broken    map[string]bool         // directories of those that cannot be read
	size      int                     // of projects
}

// juliaProject is what counts in a Project.toml.
type juliaProject struct {
	Dependencies map[string]string `toml:"deps"`   // package IDs by name
	Extras       map[string]string `toml:"extras"` // the same, for tests; a broken one breaks the file
}

func (l *layer) juliaManifest(ctx context.Context, p string, c *content) error {
	if err := inTOML.toml(c); err != nil {
		return err
	}
	pkgs, deps, err := julia.NewParser().Parse(ctx, c)
	if err != nil {
		return err
	}
	if app, ok := newApplication(ftypes.Julia, nameJulia, p, "", pkgs, deps); ok {
		l.julia.manifests = append(l.julia.manifests, app)
	}
	return nil
}

// juliaProject keeps a Project.toml for the end of the layer. Where one cannot be
// read, all of the manifest counts as installed; nothing is missed.
func (l *layer) juliaProject(_ context.Context, p string, c *content) error {
	f, dir := &l.julia, path.Dir(p)
	if f.projects == nil {
		f.projects, f.broken = map[string]juliaProject{}, map[string]bool{}
	}
	delete(f.projects, dir)
	project, err := newJuliaProject(c)
	f.size += len(project.Dependencies)
	project.Extras = nil
	if f.broken[dir] = err != nil || f.size > maxJuliaProjects; !f.broken[dir] {
		f.projects[dir] = project
	}
	return nil
}

func newJuliaProject(c *content) (juliaProject, error) {
	var p juliaProject
	if err := inJuliaProject.toml(c); err != nil {
		return p, err
	}
	_, err := toml.NewDecoder(c).Decode(&p)
	return p, err
}

// joinJulia leaves of each manifest what the project beside it asks for. A
// manifest alone, without a project, asks for nothing.
func (l *layer) joinJulia() {
	for _, app := range l.julia.manifests {
		if dir := path.Dir(app.FilePath); !l.julia.broken[dir] {
			app.Packages = juliaReached(l.julia.projects[dir].Dependencies, app.Packages)
		}
		sort.Sort(app.Packages)
		l.keep(app)
	}
}

// juliaReached returns the packages with the IDs in direct, and all that these
// depend on.
func juliaReached(direct map[string]string, all ftypes.Packages) ftypes.Packages {
	byID := map[string]ftypes.Package{}
	for _, pkg := range all {
		byID[pkg.ID] = pkg
	}
	var reached ftypes.Packages
	take := func(id string, how ftypes.Relationship) {
		if pkg, ok := byID[id]; ok {
			pkg.Relationship, pkg.Indirect = how, how == ftypes.RelationshipIndirect
			reached = append(reached, pkg)
			delete(byID, id)
		}
	}
	for _, id := range direct {
		take(id, ftypes.RelationshipDirect)
	}
	for i := 0; i < len(reached); i++ {
		for _, id := range reached[i].DependsOn {
			take(id, ftypes.RelationshipIndirect)
		}
	}
	return reached
}
