package analysis

import (
	"context"
	"path"
	"slices"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	mavenversion "github.com/masahiro331/go-mvn-version"

	"github.com/imagewright/imagewright/steps/scan/javaindex"
)

// Question is a Java archive whose name and version only an index of Maven
// Central can tell, and what it is to be asked.
type Question struct {
	Path     string              `json:"path"`
	Inside   string              `json:"inside,omitempty"`   // where in the archive at Path, if not that itself
	Manifest *javaindex.Artifact `json:"manifest,omitempty"` // what it calls itself
	SHA1     string              `json:"sha1"`               // of the archive
	FileName *javaindex.Artifact `json:"fileName,omitempty"` // what its file is called after: no group

	At       int      `json:"at"`                 // how many of the application's packages come before the answer
	Licenses []string `json:"licenses,omitempty"` // for the answer
}

// file is where the archive is, as packages have it.
func (q Question) file() string { return path.Join(q.Path, q.Inside) }

// Index is what is known of the archives in Maven Central.
type Index interface {
	// Exists reports whether an artifact of that name was published.
	Exists(ctx context.Context, groupID, artifactID string) (bool, error)
	// SearchBySHA1 returns what an archive was published as; the zero Artifact
	// when it is unknown.
	SearchBySHA1(ctx context.Context, sha1 string) (javaindex.Artifact, error)
	// SearchByArtifactID returns the group that published most under that name;
	// empty when none did in that version.
	SearchByArtifactID(ctx context.Context, artifactID, version string) (groupID string, err error)
}

// NeedsIndex reports whether an index could tell more about the layers.
func NeedsIndex(layers []*Result) bool {
	return slices.ContainsFunc(layers, func(r *Result) bool { return len(r.Questions) > 0 })
}

// Identify answers the questions about Java archives in layers, and returns the
// layers with the packages that the answers are. The layers it is given stay as
// they are.
//
// It comes before [Merge]: which layer a package belongs to, and whether a
// replaced archive still counts, depends on what is known of each layer.
func Identify(ctx context.Context, layers []*Result, index Index) ([]*Result, error) {
	identified := slices.Clone(layers)
	for i, l := range layers {
		if len(l.Questions) == 0 {
			continue
		}
		r := *l
		r.Questions = nil
		r.Applications, r.Unidentified = slices.Clone(l.Applications), slices.Clone(l.Unidentified)
		byPath := map[string][]answer{}
		for _, q := range l.Questions {
			a, err := q.ask(ctx, index)
			if err != nil {
				return nil, err
			}
			if a.ArtifactID != "" {
				byPath[q.Path] = append(byPath[q.Path], answer{q, a})
			}
		}
		r.identify(l.Questions, byPath)
		identified[i] = &r
	}
	return identified, nil
}

// answer is what a question's archive is.
type answer struct {
	Question
	artifact javaindex.Artifact
}

// ask asks the index in Trivy's order: whether there is what the manifest
// claims, then for the archive itself, then for the name of its file. No answer
// is the zero Artifact.
func (q Question) ask(ctx context.Context, index Index) (javaindex.Artifact, error) {
	if m := q.Manifest; m != nil {
		if found, err := index.Exists(ctx, m.GroupID, m.ArtifactID); err != nil || found {
			return *m, err
		}
	}
	a, err := index.SearchBySHA1(ctx, q.SHA1)
	if err != nil || a.ArtifactID != "" || q.FileName == nil {
		return a, err
	}
	group, err := index.SearchByArtifactID(ctx, q.FileName.ArtifactID, q.FileName.Version)
	if err != nil || group == "" {
		return javaindex.Artifact{}, err
	}
	return javaindex.Artifact{GroupID: group, ArtifactID: q.FileName.ArtifactID, Version: q.FileName.Version}, nil
}

// identify adds to the archives in questions, once for each path and in their
// order, what they and those inside them turned out to be.
func (r *Result) identify(questions []Question, byPath map[string][]answer) {
	apps := map[string]int{} // places in r.Applications
	for i, a := range r.Applications {
		if _, twice := apps[a.FilePath]; a.Type == ftypes.Jar && !twice {
			apps[a.FilePath] = i
		}
	}
	known := map[Unidentified]bool{}
	for _, q := range questions {
		answers := byPath[q.Path]
		if answers == nil {
			continue
		}
		delete(byPath, q.Path)
		for _, a := range answers {
			known[Unidentified{a.Path, a.Inside, a.SHA1}] = true
		}
		i, ok := apps[q.Path]
		if !ok {
			i = len(r.Applications)
			r.Applications = append(r.Applications, ftypes.Application{Type: ftypes.Jar, FilePath: q.Path})
		}
		identifyIn(&r.Applications[i], answers)
	}
	r.Unidentified = slices.DeleteFunc(r.Unidentified, func(u Unidentified) bool { return known[u] })
}

// identifyIn adds to an archive's packages what it and those inside it turned out
// to be.
func identifyIn(app *ftypes.Application, answers []answer) {
	slices.SortStableFunc(answers, func(a, b answer) int { return a.At - b.At })
	var pkgs []ftypes.Package
	done := 0
	for _, a := range answers {
		at := min(max(a.At, done), len(app.Packages)) // what the distribution installed is gone from the list
		pkgs = append(pkgs, app.Packages[done:at]...)
		done = at
		p := javaPackage(a.artifact, a.file())
		p.AnalyzedBy, p.Licenses = nameJar, licensing.NormalizeLicenses(slices.Clone(a.Licenses))
		pkgs = append(pkgs, p)
	}
	app.Packages, _ = withoutTwins(append(pkgs, app.Packages[done:]...))
}

// maxVersions bounds how many versions of one package in one file are compared.
const maxVersions = 100

// withoutTwins drops packages that an archive holds twice in the same version,
// but for the first. before[i] is how many of the first i were kept.
func withoutTwins(pkgs []ftypes.Package) (kept []ftypes.Package, before []int) {
	type key struct{ name, file string }
	texts := map[key]map[string]bool{}
	versions := map[key][]mavenversion.Version{}
	before = make([]int, 0, len(pkgs)+1)
	for _, p := range pkgs {
		before = append(before, len(kept))
		k := key{p.Name, p.FilePath}
		if texts[k][p.Version] {
			continue
		}
		if texts[k] == nil {
			texts[k] = map[string]bool{}
		}
		texts[k][p.Version] = true
		if len(versions[k]) < maxVersions {
			v, _ := mavenversion.NewVersion(p.Version)     // never an error
			if slices.ContainsFunc(versions[k], v.Equal) { // 2.17 is 2.17.0
				continue
			}
			versions[k] = append(versions[k], v)
		}
		kept = append(kept, p)
	}
	return kept, append(before, len(kept))
}
