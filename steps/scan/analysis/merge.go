package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/purl"
	"github.com/aquasecurity/trivy/pkg/scan/utils"
	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/package-url/packageurl-go"
)

// Detail is what an image holds, all layers applied.
type Detail struct {
	OS           ftypes.OS          // zero: none known
	Repository   *ftypes.Repository // the Alpine release apk installs from
	Packages     ftypes.Packages    // of the distribution
	Applications ftypes.Applications
	Layers       ftypes.Layers // bottom up

	// Unidentified and Problems are those of files the image still has.
	Unidentified []Unidentified
	Problems     []Problem
}

// Merge applies the layers of an image, bottom up, as Trivy does: a layer
// deletes first, then adds; what a later layer finds in a file counts, but a
// file replaced by one without packages keeps the old ones; a package belongs
// to the first layer that had it. Unlike Trivy's, the root can be opaque too.
//
// The layers must be config's, in its order. blobs, if not nil, are the layers
// as the manifest names them; packages then carry their digests.
func Merge(layers []*Result, config *v1.ConfigFile, blobs []v1.Descriptor) (*Detail, error) {
	ids, err := layerIDs(layers, config, blobs)
	if err != nil {
		return nil, err
	}
	var files tree
	d := &Detail{Layers: ids}
	for _, l := range layers {
		for _, dir := range l.OpaqueDirs {
			files.delete(dir)
		}
		for _, path := range l.Whiteouts {
			files.delete(path)
		}
		d.OS.Merge(l.system())
		if l.Repository != nil {
			d.Repository = l.Repository
		}
		l.addTo(&files)
	}
	files.each(func(v any) {
		switch v := v.(type) {
		case ftypes.PackageInfo:
			d.Packages = append(d.Packages, slices.Clone(v.Packages)...)
		case ftypes.Application:
			v.Packages = slices.Clone(v.Packages) // the layer's result stays as it is
			d.Applications = append(d.Applications, v)
		case []Unidentified:
			d.Unidentified = append(d.Unidentified, v...)
		case []Problem:
			d.Problems = append(d.Problems, v...)
		}
	})
	d.finishPackages(layers)
	d.finishApplications(layers)
	return d, nil
}

// Kinds in the tree; those of applications are their types.
const (
	kindPackages     = "\x00packages"
	kindUnidentified = "\x00unidentified"
	kindProblems     = "\x00problems"
)

// addTo puts what the layer found in its files into the tree.
func (r *Result) addTo(files *tree) {
	for _, path := range r.Parsed {
		files.drop(path, kindProblems)
		files.drop(path, kindUnidentified)
	}
	for _, info := range r.Packages {
		files.set(info.FilePath, kindPackages, info)
	}
	for _, app := range r.Applications {
		files.set(app.FilePath, string(app.Type), app)
	}
	unidentified := map[string][]Unidentified{}
	for _, u := range r.Unidentified {
		unidentified[u.Path] = append(unidentified[u.Path], u)
	}
	for path, list := range unidentified {
		files.set(path, kindUnidentified, list)
	}
	problems := map[string][]Problem{}
	for _, p := range r.Problems {
		problems[p.Path] = append(problems[p.Path], p)
	}
	for path, list := range problems {
		files.set(path, kindProblems, list)
	}
}

// system merges the layer's signs of a distribution. Those that others
// overrule, because derived distributions carry them too, go first; so the
// order of the tar does not decide.
func (r *Result) system() ftypes.OS {
	var os ftypes.OS
	overruled := func(c OSCandidate) bool { return c.OS.Family == ftypes.Debian || c.OS.Family == ftypes.RedHat }
	for _, c := range r.OS {
		if overruled(c) {
			os.Merge(c.OS)
		}
	}
	for _, c := range r.OS {
		if !overruled(c) {
			os.Merge(c.OS)
		}
	}
	return os
}

// layerIDs checks that layers are the image's and returns them as reports name
// them.
func layerIDs(layers []*Result, config *v1.ConfigFile, blobs []v1.Descriptor) (ftypes.Layers, error) {
	diffIDs := config.RootFS.DiffIDs
	if len(layers) != len(diffIDs) || blobs != nil && len(blobs) != len(diffIDs) {
		return nil, fmt.Errorf("merge layers: %d analysed and %d in the manifest, but %d in the image's configuration", len(layers), len(blobs), len(diffIDs))
	}
	var history []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			history = append(history, strings.TrimPrefix(strings.TrimPrefix(h.CreatedBy, "/bin/sh -c "), "#(nop) "))
		}
	}
	ids := make(ftypes.Layers, len(layers))
	for i, l := range layers {
		if l.Version != Version {
			return nil, fmt.Errorf("merge layers: layer %s was analysed by version %d; this is version %d", l.DiffID, l.Version, Version)
		}
		if l.DiffID != diffIDs[i] {
			return nil, fmt.Errorf("merge layers: layer %d of %d is %s, but %s in the image's configuration", i+1, len(layers), l.DiffID, diffIDs[i])
		}
		ids[i].DiffID = l.DiffID.String()
		if blobs != nil {
			ids[i].Digest, ids[i].Size = blobs[i].Digest.String(), blobs[i].Size
		}
		if len(history) == len(layers) { // else it is unknown which line made which
			ids[i].CreatedBy = history[i]
		}
	}
	return ids, nil
}

// origin returns how packages name the layer.
func origin(l ftypes.Layer) ftypes.Layer { return ftypes.Layer{Digest: l.Digest, DiffID: l.DiffID} }

// finishPackages says for each package which layer it came with, names it the
// way other tools do, and drops what is there twice.
func (d *Detail) finishPackages(layers []*Result) {
	type key struct{ name, version, release string }
	type first struct {
		layer int
		files []string
	}
	firsts := map[key]first{}
	for i, l := range layers {
		for _, info := range l.Packages {
			for _, p := range info.Packages {
				k := key{p.Name, p.Version, p.Release}
				if _, ok := firsts[k]; !ok {
					firsts[k] = first{i, p.InstalledFiles}
				}
			}
		}
	}
	seen := map[string]bool{}
	d.Packages = slices.DeleteFunc(d.Packages, func(p ftypes.Package) bool {
		// Distroless images list some packages in more than one place.
		id := cmp.Or(p.ID, p.Name+"@"+utils.FormatVersion(p)) + "\x00" + p.FilePath
		twice := seen[id]
		seen[id] = true
		return twice
	})
	for i := range d.Packages {
		p := &d.Packages[i]
		plain := *p
		f := firsts[key{p.Name, p.Version, p.Release}]
		// Where a later layer touches a package, dpkg's lists of files are only
		// in the layer that installed it.
		p.Layer, p.InstalledFiles = origin(d.Layers[f.layer]), f.files
		if d.OS.Family != "" {
			p.Identifier.PURL = packageURL(d.OS.Family, types.Metadata{OS: &d.OS}, plain)
		}
		p.Identifier.UID = dependency.UID("", plain)
	}
	sort.Sort(d.Packages)
}

// finishApplications does the same for the packages of applications, and makes
// one application of those whose packages each have a file.
func (d *Detail) finishApplications(layers []*Result) {
	type key struct{ path, name, version, release string }
	firsts := map[key]int{}
	for i, l := range layers {
		for _, app := range l.Applications {
			for _, p := range app.Packages {
				k := key{app.FilePath, p.Name, p.Version, p.Release}
				if _, ok := firsts[k]; !ok {
					firsts[k] = i
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
			p.Layer = origin(d.Layers[firsts[key{app.FilePath, p.Name, p.Version, p.Release}]])
			p.Identifier.PURL = packageURL(app.Type, types.Metadata{}, plain)
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
