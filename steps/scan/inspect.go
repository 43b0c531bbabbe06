package scan

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/analysis"
)

// inspected is one image and what is in it.
type inspected struct {
	image    image.PlatformImage
	config   *v1.ConfigFile
	configID v1.Hash
	detail   *analysis.Detail
	results  types.Results // filled by detection
	eosl     bool          // the distribution gets no security updates any more
}

// inspect analyses all layers of all images, as many at once as there are CPUs,
// each distinct layer once, and merges them to what the images hold.
func inspect(ctx context.Context, images []image.PlatformImage) ([]*inspected, error) {
	all := make([]*inspected, len(images))
	layers := make([][]v1.Layer, len(images))
	results := map[v1.Hash]*analysis.Result{}
	var todo []v1.Layer
	for i, img := range images {
		one, own, err := read(img)
		if err != nil {
			return nil, err
		}
		all[i], layers[i] = one, own
		for n, diffID := range one.config.RootFS.DiffIDs {
			if _, seen := results[diffID]; !seen {
				results[diffID] = new(analysis.Result) // its place; filled below
				todo = append(todo, own[n])
			}
		}
	}
	if err := analyse(ctx, todo, results); err != nil {
		return nil, err
	}
	for i, one := range all {
		if err := one.merge(layers[i], results); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// read returns an image's configuration and its layers, as many as there are
// diff IDs.
func read(img image.PlatformImage) (*inspected, []v1.Layer, error) {
	config, err := img.Image.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	id, err := img.Image.ConfigName()
	if err != nil {
		return nil, nil, err
	}
	layers, err := img.Image.Layers()
	if err != nil {
		return nil, nil, err
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return nil, nil, fmt.Errorf("image %s: its configuration names %d layers, its manifest %d", img.Digest, len(config.RootFS.DiffIDs), len(layers))
	}
	return &inspected{image: img, config: config, configID: id}, layers, nil
}

// analyse fills the places in results.
func analyse(ctx context.Context, layers []v1.Layer, results map[v1.Hash]*analysis.Result) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, l := range layers {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // another failed while this one waited its turn
			}
			return safely(func() error {
				result, err := analyseOne(ctx, l)
				if err != nil {
					return err
				}
				*results[result.DiffID] = *result // each goroutine has its own: no lock
				return nil
			})
		})
	}
	return g.Wait()
}

func analyseOne(ctx context.Context, l v1.Layer) (*analysis.Result, error) {
	diffID, err := l.DiffID()
	if err != nil {
		return nil, err
	}
	tar, err := l.Uncompressed()
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", diffID, err)
	}
	defer tar.Close()
	return analysis.Layer(ctx, analysis.Input{DiffID: diffID, Tar: tar}, analysis.Options{})
}

func (one *inspected) merge(layers []v1.Layer, results map[v1.Hash]*analysis.Result) error {
	blobs := make([]v1.Descriptor, len(layers))
	own := make([]*analysis.Result, len(layers))
	for i, l := range layers {
		var err error
		if blobs[i].Digest, err = l.Digest(); err != nil {
			return err
		}
		if blobs[i].Size, err = l.Size(); err != nil {
			return err
		}
		own[i] = results[one.config.RootFS.DiffIDs[i]]
	}
	var err error
	one.detail, err = analysis.Merge(own, one.config, blobs)
	return err
}

// safely is f() with a panic as an error. In a goroutine a panic would end the
// process, with the exit code of a usage error; hostile images try for one.
func safely(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.Failed(fmt.Errorf("no verdict: reading the image broke the scanner: %v", r), "this is a bug; please report it")
		}
	}()
	return f()
}

// packages is the number of packages found.
func (one *inspected) packages() int {
	n := len(one.detail.Packages)
	for _, app := range one.detail.Applications {
		n += len(app.Packages)
	}
	return n
}

// unread is returned when files of the image should have been understood and
// were not: what is in them, nobody knows.
type unread struct{ Problems []analysis.Problem }

// maxProblems bounds the problems that an error lists.
const maxProblems = 5

func (e *unread) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no verdict: %s of the image could not be read", count(len(e.Problems), "file"))
	for _, p := range e.Problems[:min(len(e.Problems), maxProblems)] {
		fmt.Fprintf(&b, "; %s", p)
	}
	if more := len(e.Problems) - maxProblems; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

func (e *unread) ExitCode() int { return fault.ExitFailed }

func (e *unread) Hint() string {
	return "repair or remove these files in the image; a scan that skips them proves nothing"
}

// count is n of a noun: "1 package", "2 packages".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// check refuses what no verdict can be based on.
func check(all []*inspected, allowEmpty bool) error {
	var problems []analysis.Problem
	for _, one := range all {
		problems = append(problems, one.detail.Problems...)
	}
	if len(problems) > 0 {
		return &unread{problems}
	}
	for _, one := range all {
		if one.packages() == 0 && !allowEmpty {
			return fault.Failed(fmt.Errorf("no verdict: no package was found in %s, so nothing could be checked", one.image.Digest),
				"set allow-empty=true if that is right, as for a static program without build information")
		}
	}
	return nil
}
