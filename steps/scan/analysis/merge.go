package analysis

import (
	"fmt"
	"slices"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// Detail is what an image holds, all layers applied.
type Detail struct {
	OS           ftypes.OS          // zero: none known
	Repository   *ftypes.Repository // the Alpine release apk installs from
	Secrets      []ftypes.Secret    // by path; never deleted
	Packages     ftypes.Packages    // of the distribution
	Applications ftypes.Applications
	Layers       ftypes.Layers // bottom up

	// Unidentified and Problems are those of files the image still has.
	Unidentified []Unidentified
	Problems     []Problem

	// Sensitive and Removed are also of files that a later layer removes.
	Sensitive []SensitiveFile
	Removed   []Removed // those with secrets
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
	d := &Detail{Layers: ids, Secrets: mergeSecrets(layers, ids)}
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
	licenses := map[string][]string{} // by Debian package
	files.each(func(v any) {
		switch v := v.(type) {
		case ftypes.PackageInfo:
			d.Packages = append(d.Packages, v.Packages...)
		case ftypes.Application:
			v.Packages = slices.Clone(v.Packages) // the layer's result stays as it is
			d.Applications = append(d.Applications, v)
		case Copyright:
			licenses[v.Package] = v.Licenses
		case []Unidentified:
			d.Unidentified = append(d.Unidentified, v...)
		case []Problem:
			d.Problems = append(d.Problems, v...)
		}
	})
	if err := d.checkCount(); err != nil {
		return nil, err
	}
	d.finishPackages(layers, licenses)
	d.finishApplications(layers)
	d.finishSensitive(layers)
	return d, nil
}

// checkCount comes before the work, and the memory, that each package takes.
func (d *Detail) checkCount() error {
	n := len(d.Packages)
	for _, app := range d.Applications {
		n += len(app.Packages)
	}
	if n > maxPackages {
		return fault.Failed(fmt.Errorf("merge layers: %d packages; at most %d of an image are looked up", n, maxPackages),
			"look for what is there many times over, and leave it out with skip-dirs or skip-files")
	}
	return nil
}

// Kinds in the tree; those of applications are their types.
const (
	kindPackages     = "\x00packages"
	kindCopyright    = "\x00copyright"
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
	for _, c := range r.Copyrights {
		files.set(c.Path, kindCopyright, c)
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
		ids[i].DiffID, ids[i].Size = l.DiffID.String(), l.Size
		if blobs != nil && blobs[i].Digest != (v1.Hash{}) { // else it has none
			ids[i].Digest = blobs[i].Digest.String()
		}
		if len(history) == len(layers) { // else it is unknown which line made which
			ids[i].CreatedBy = history[i]
		}
	}
	return ids, nil
}

// origin returns how packages name the layer.
func origin(l ftypes.Layer) ftypes.Layer { return ftypes.Layer{Digest: l.Digest, DiffID: l.DiffID} }
