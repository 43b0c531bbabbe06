package analysis

import (
	"cmp"
	"slices"
	"sort"

	"github.com/aquasecurity/trivy/pkg/dependency"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/purl"
	"github.com/aquasecurity/trivy/pkg/scan/utils"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/package-url/packageurl-go"
)

// packageKey is what makes two packages in different layers the same. path is
// that of the application; a distribution's package may move between databases.
type packageKey struct{ path, name, version, release string }

func keyOf(path string, p ftypes.Package) packageKey {
	return packageKey{path, p.Name, p.Version, p.Release}
}

// finishPackages says for each package which layer it came with, names it the
// way other tools do, and drops what is there twice or is not the
// distribution's. licenses are those of Debian's packages.
func (d *Detail) finishPackages(layers []*Result, licenses map[string][]string) {
	type first struct {
		layer int
		files []string
	}
	firsts := map[packageKey]first{}
	for i, l := range layers {
		for _, info := range l.Packages {
			for _, p := range info.Packages {
				if _, ok := firsts[keyOf("", p)]; !ok {
					firsts[keyOf("", p)] = first{i, p.InstalledFiles}
				}
			}
		}
	}
	for i := range d.Packages {
		p := &d.Packages[i]
		plain := *p
		if p.Layer == (ftypes.Layer{}) { // a bill of materials may know it
			f := firsts[keyOf("", plain)]
			// Where a later layer touches a package, dpkg's lists of files are
			// only in the layer that installed it.
			p.Layer, p.InstalledFiles = origin(d.Layers[f.layer]), f.files
			p.BuildInfo = cmp.Or(buildInfo(layers, f.layer), p.BuildInfo)
		}
		if p.Identifier.PURL == nil && d.OS.Family != "" {
			p.Identifier.PURL = packageURL(d.OS.Family, types.Metadata{OS: &d.OS}, plain)
		}
		p.Identifier.UID = dependency.UID("", plain)
		if names, ok := licenses[p.Name]; ok {
			p.Licenses = names
		}
	}
	d.dropForeign()
	d.dropTwins()
	sort.Sort(d.Packages)
}

// buildInfo returns what Red Hat notes about the packages that came with a
// layer. The lowest layer of its images has none of its own and shares that of
// the one above; layers built upon them share what is below.
func buildInfo(layers []*Result, at int) *ftypes.BuildInfo {
	if layers[at].BuildInfo != nil {
		return layers[at].BuildInfo
	}
	if at == 0 {
		if len(layers) > 1 {
			return layers[1].BuildInfo
		}
		return nil
	}
	for i := at - 1; i >= 0; i-- {
		if layers[i].BuildInfo != nil {
			return layers[i].BuildInfo
		}
	}
	return nil
}

// dropForeign drops packages that a bill of materials says are another
// distribution's: advisories of this one don't speak for them.
func (d *Detail) dropForeign() {
	if d.OS.Family == "" {
		return
	}
	d.Packages = slices.DeleteFunc(d.Packages, func(p ftypes.Package) bool {
		url := p.Identifier.PURL
		return url != nil && url.Namespace != "" && url.Namespace != d.OS.Family.PurlNamespace()
	})
}

// dropTwins keeps one of packages that are listed in more than one place, as in
// distroless images: rather that of the package manager's database, which knows
// more, than that of a bill of materials.
func (d *Detail) dropTwins() {
	slices.SortStableFunc(d.Packages, func(a, b ftypes.Package) int {
		rank := func(p ftypes.Package) int {
			if p.AnalyzedBy == nameBOM {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	seen := map[string]bool{}
	d.Packages = slices.DeleteFunc(d.Packages, func(p ftypes.Package) bool {
		id := cmp.Or(p.ID, p.Name+"@"+utils.FormatVersion(p)) + "\x00" + p.FilePath
		twice := seen[id]
		seen[id] = true
		return twice
	})
}

// finishApplications does the same for the packages of applications, and makes
// one application of those whose packages each have a file.
func (d *Detail) finishApplications(layers []*Result) {
	firsts := map[packageKey]int{}
	for i, l := range layers {
		for _, app := range l.Applications {
			for _, p := range app.Packages {
				if _, ok := firsts[keyOf(app.FilePath, p)]; !ok {
					firsts[keyOf(app.FilePath, p)] = i
				}
			}
		}
	}
	together := map[ftypes.LangType]*ftypes.Application{}
	for _, kind := range ftypes.AggregatingTypes {
		together[kind] = &ftypes.Application{Type: kind}
	}
	var apps ftypes.Applications
	for _, app := range d.Applications {
		for i := range app.Packages {
			p := &app.Packages[i]
			plain := *p
			if p.Layer == (ftypes.Layer{}) {
				p.Layer = origin(d.Layers[firsts[keyOf(app.FilePath, plain)]])
			}
			if p.Identifier.PURL == nil {
				p.Identifier.PURL = packageURL(app.Type, types.Metadata{}, plain)
			}
			p.Identifier.UID = dependency.UID(app.FilePath, plain)
		}
		if all, ok := together[app.Type]; ok {
			all.Packages = append(all.Packages, app.Packages...)
		} else {
			apps = append(apps, app)
		}
	}
	for _, kind := range ftypes.AggregatingTypes {
		if all := together[kind]; len(all.Packages) > 0 {
			apps = append(apps, *all)
		}
	}
	sort.Sort(apps)
	d.Applications = apps
}

// packageURL returns nil where there is none: only reports need it.
func packageURL(kind ftypes.TargetType, m types.Metadata, p ftypes.Package) *packageurl.PackageURL {
	if p.Name == "" {
		return nil
	}
	found, err := purl.New(kind, m, p)
	if err != nil || found == nil {
		return nil
	}
	return found.Unwrap()
}
