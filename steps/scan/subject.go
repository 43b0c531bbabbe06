package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// subject is what the verdict will be about.
type subject struct {
	name   string // as reports call it; comes from the image
	digest v1.Hash
	madeUp bool                  // the digest is that of no registry: an archive of docker save has no manifest
	images []image.PlatformImage // all that digest stands for
	plain  *image.PlainLayers    // what the builder left beside it; nil: nothing
	close  func() error
}

// openSubject opens the image that the plan's source names, or that build
// recorded.
func openSubject(ctx context.Context, p plan, registry image.Registry, job *step.Job) (*subject, error) {
	opts := image.Options{Dir: job.Dir, Registry: registry, Platform: p.platform}
	source := p.source
	if source == "" {
		source = filepath.Join(job.Workspace, "image")
		if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Usage(fmt.Errorf("no image in %s", job.Rel(source)), "run imagewright-build first, or set source")
		}
		build, err := record.Read[record.Build](job.Workspace, "build")
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		opts.Name = build.Image.Digest // "" takes the only image of a layout that came from elsewhere
	}
	opened, err := image.Open(ctx, source, opts)
	if err != nil {
		return nil, err
	}
	s := &subject{name: opened.Name, digest: opened.Descriptor.Digest, madeUp: opened.MadeUp, close: opened.Close}
	if p.source == "" {
		// They only save time: without them the blobs are read.
		if s.plain, err = image.OpenPlainLayers(filepath.Join(job.Workspace, "layers")); err == nil {
			s.close = func() error { return errors.Join(s.plain.Close(), opened.Close()) }
		}
	}
	if s.images, err = opened.Images(); err == nil {
		err = s.narrow(opened, opts.Platform != nil)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if filepath.IsAbs(s.name) { // nothing has a name in it
		s.name = job.Rel(s.name)
	}
	return s, nil
}

// narrow makes the subject one image where not all images of an index are
// scanned: what nobody looked at must not get a verdict.
func (s *subject) narrow(opened *image.Opened, chosen bool) error {
	if !opened.Descriptor.MediaType.IsIndex() {
		return nil
	}
	index, err := opened.Index()
	if err != nil {
		return err
	}
	have := map[v1.Hash]bool{}
	for _, i := range s.images {
		have[i.Digest] = true
	}
	all, err := covered(index, have)
	if err != nil || all && !chosen {
		return err
	}
	if len(s.images) == 1 {
		s.digest = s.images[0].Digest
		return nil
	}
	if all {
		return nil
	}
	return fault.Usage(fmt.Errorf("%s: images of index %s are missing, so it cannot be judged as a whole", s.name, s.digest), "choose one platform, or give a source that holds all of them")
}

// covered tells whether every image of index is among have. Attestations and
// other artifacts are no images.
func covered(index v1.ImageIndex, have map[v1.Hash]bool) (bool, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return false, err
	}
	for _, d := range manifest.Manifests {
		switch {
		case have[d.Digest] || !d.MediaType.IsImage() && !d.MediaType.IsIndex():
		case d.MediaType.IsIndex():
			child, err := index.ImageIndex(d.Digest)
			if err != nil {
				return false, nil // it is not there
			}
			if all, err := covered(child, have); err != nil || !all {
				return false, err
			}
		default:
			img, err := index.Image(d.Digest)
			if err != nil {
				return false, nil
			}
			m, err := img.Manifest()
			if err != nil {
				return false, err
			}
			if m.Config.MediaType.IsConfig() && d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
				return false, nil
			}
		}
	}
	return true, nil
}

// registryOf returns the host that a source's reference names, or "" when it is
// no reference: credentials given for the image go nowhere else.
func registryOf(source string, job *step.Job, registry image.Registry) string {
	if _, err := os.Stat(job.Abs(source)); err == nil {
		return "" // a file: hello.tar would be one of docker.io's
	}
	ref, err := registry.Reference(strings.TrimPrefix(source, "registry:"))
	if err != nil {
		return ""
	}
	return ref.Context().RegistryStr()
}
