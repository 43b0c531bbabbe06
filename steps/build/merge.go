package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// maxSources bounds what one merge joins: there are some thirty platforms.
const maxSources = 64

// merge joins images that other jobs built, each for its own platforms, into one
// index in this workspace. All that is wrong with the sources shows before a
// blob is copied; until the new image is whole, the workspace keeps the old one.
func (s *Step) merge(ctx context.Context, job *step.Job) error {
	begun := time.Now()
	in := &s.inputs
	if n := len(in.Sources); n == 0 || n > maxSources {
		return fault.Usage(fmt.Errorf("input sources: merge got %d images", n), "name the workspaces of the jobs that built them, or references with a digest, one a line")
	}
	wanted, err := readPlatforms(in.Platforms)
	if err != nil {
		return err
	}
	annotations, err := readAnnotations(in.Annotations)
	if err != nil {
		return err
	}
	last, err := lastDigest(job.Workspace)
	if err != nil {
		return err
	}
	sources, err := s.openSources(ctx, job)
	if err != nil {
		return err
	}
	defer closeSources(sources)
	made, err := sources.merge(ctx, job, wanted, annotations)
	if err != nil {
		return err
	}
	made.Took = time.Since(begun)
	return made.tellMerged(job, len(sources), last != made.Root.Digest.String())
}

// merge makes the sources the image of job's workspace.
func (m mergeSources) merge(ctx context.Context, job *step.Job, wanted []ocispecs.Platform, annotations []annotation) (result, error) {
	written, err := m.record(job)
	if err != nil {
		return result{}, err
	}
	layout, err := image.CreateLayout(filepath.Join(job.Workspace, "image"))
	if err != nil {
		return result{}, err
	}
	root, err := m.join(ctx, layout, wanted, annotations)
	if err != nil {
		return result{}, err
	}
	made, err := readResult(root, layout, wanted)
	if err != nil {
		return result{}, err
	}
	if made.Said, err = m.statements(made.Images); err != nil {
		return result{}, err
	}
	if err := made.keep(job.Workspace, layout, written); err != nil {
		return result{}, err
	}
	made.sweepPlainLayers(job)
	return made, nil
}

// join copies the images of all sources into layout and returns their root.
func (m mergeSources) join(ctx context.Context, layout *image.Layout, wanted []ocispecs.Platform, annotations []annotation) (v1.Descriptor, error) {
	var images []v1.Descriptor
	for _, source := range m {
		own, err := image.Import(ctx, layout, source.opened)
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("source %s: %w", ci.Printable(source.given), err)
		}
		images = append(images, own...)
	}
	images, err := arrange(images, wanted)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return annotatedRoot(layout, images, annotations)
}

// arrange returns images in the order of wanted, which names them all; in their
// own where nothing is wanted in particular.
func arrange(images []v1.Descriptor, wanted []ocispecs.Platform) ([]v1.Descriptor, error) {
	if len(wanted) == 0 {
		return images, nil
	}
	place := func(d v1.Descriptor) int {
		return slices.IndexFunc(wanted, func(p ocispecs.Platform) bool {
			return platforms.OnlyStrict(p).Match(platforms.Normalize(ociPlatform(*d.Platform)))
		})
	}
	found := make([]bool, len(wanted))
	for _, d := range images {
		i := place(d)
		if i < 0 {
			return nil, fault.Usage(fmt.Errorf("input sources: there is an image for %s, which the input platforms does not name", ci.Printable(d.Platform.String())), "name it there too, or leave its source out")
		}
		found[i] = true
	}
	if i := slices.Index(found, false); i >= 0 {
		return nil, fault.Usage(fmt.Errorf("input sources: there is no image for %s", platforms.Format(wanted[i])), "add the source that has it: has its job run?")
	}
	return slices.SortedStableFunc(slices.Values(images), func(a, b v1.Descriptor) int { return place(a) - place(b) }), nil
}

// record is what is recorded of the image that the sources make together. They
// must be of one commit, as far as is known.
func (m mergeSources) record(job *step.Job) (*record.Build, error) {
	written := &record.Build{}
	var first *mergeSource // that tells its commit
	for _, source := range m {
		own := source.build
		if own.Source.Revision == "" {
			job.Log.Warn("nothing tells which commit this image is of", "source", ci.Printable(source.given))
		} else if first == nil {
			first, written.Source = source, own.Source
		} else if err := sameCommit(first, source); err != nil {
			return nil, err
		}
		for _, material := range own.Materials {
			if !slices.Contains(written.Materials, material) {
				written.Materials = append(written.Materials, material)
			}
		}
		for _, name := range own.Names {
			if !slices.Contains(written.Names, name) {
				written.Names = append(written.Names, name)
			}
		}
		written.SBOM = written.SBOM || own.SBOM
	}
	return written, nil
}

// sameCommit refuses to make one image of two commits.
func sameCommit(a, b *mergeSource) error {
	x, y := a.build.Source, b.build.Source
	if x.Revision == y.Revision && (x.Repository == y.Repository || x.Repository == "" || y.Repository == "") {
		return nil
	}
	commit := func(s *mergeSource) string {
		text := fmt.Sprintf("%s is of %s", s.given, s.build.Source.Revision)
		if x.Repository != y.Repository {
			text += " of " + s.build.Source.Repository
		}
		return ci.Printable(text)
	}
	return fault.Usage(fmt.Errorf("input sources: the images are of different commits: %s, and %s", commit(a), commit(b)),
		"one image is of one commit: build all of them from the same, and merge those")
}

// tellMerged hands r to the pipeline and to people.
func (r result) tellMerged(job *step.Job, sources int, changed bool) error {
	if err := r.output(job, changed); err != nil {
		return err
	}
	digest, list := r.Root.Digest.String(), r.platformList(", ")
	job.Summary(fmt.Sprintf("### Merged image\n\n| | |\n|---|---|\n| digest | `%s` |\n| platforms | %s |\n| size | %s |\n| sources | %d |\n\n",
		digest, inTable(list), units.HumanSize(float64(r.Size)), sources))
	job.Log.Info("merged", "digest", digest, "platforms", list, "size", units.HumanSize(float64(r.Size)), "seconds", fmt.Sprintf("%.1f", r.Took.Seconds()), "changed", changed)
	_, err := fmt.Fprintln(job.Stdout, digest)
	return err
}

// closeSources closes what was opened.
func closeSources(all mergeSources) error {
	var failed []error
	for _, source := range all {
		failed = append(failed, source.opened.Close())
	}
	return errors.Join(failed...)
}
