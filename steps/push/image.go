package push

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/step"
)

const (
	// maxManifests and maxManifestBytes bound what one index may make us keep.
	// The largest official images have some twenty manifests of 3 kB.
	maxManifests     = 1024
	maxManifestBytes = 64 << 20
	maxDepth         = 4 // indexes within indexes
)

// openSource opens the image to push. The workspace's own must be the one that
// the last build, or slim, recorded.
func openSource(ctx context.Context, source string, job *step.Job, client *registry.Client) (*image.Opened, error) {
	options := image.Options{Dir: job.Dir, Registry: client}
	if source != "" {
		return image.Open(ctx, source, options)
	}
	build, err := record.Read[record.Build](job.Workspace, "build")
	if errors.Is(err, record.ErrNotFound) {
		return nil, fault.Usage(fmt.Errorf("there is no image in %s", job.Rel(job.Workspace)), "run imagewright-build before, or give another image with source")
	}
	if err != nil {
		return nil, err
	}
	opened, err := image.Open(ctx, "oci:"+filepath.Join(job.Workspace, "image"), options)
	if err != nil {
		return nil, err
	}
	if digest := opened.Descriptor.Digest.String(); digest != build.Image.Digest {
		opened.Close()
		return nil, fault.Failed(fmt.Errorf("the layout in %s holds %s, and the record names %q", job.Rel(job.Workspace), digest, build.Image.Digest),
			"build and scan again")
	}
	return opened, nil
}

// content is all that an image consists of.
type content struct {
	root      v1.Hash
	manifests []*manifest // the parts of an index before it; the root is last
}

// manifest is one manifest or index.
type manifest struct {
	digest    v1.Hash
	mediaType types.MediaType
	raw       []byte
	blobs     []registry.Blob
}

// readContent reads every manifest that the opened image needs, and finds every
// blob. No blob is read yet.
func readContent(opened *image.Opened) (*content, error) {
	c := &collector{content: &content{root: opened.Descriptor.Digest}, seen: map[v1.Hash]bool{}}
	if opened.Descriptor.MediaType.IsIndex() {
		index, err := opened.Index()
		if err != nil {
			return nil, err
		}
		return c.content, c.index(index, 0)
	}
	img, err := opened.Image()
	if err != nil {
		return nil, err
	}
	return c.content, c.image(img)
}

type collector struct {
	content *content
	seen    map[v1.Hash]bool
	bytes   int
}

// document is what images and indexes have in common.
type document interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	RawManifest() ([]byte, error)
}

// add keeps the manifest d, after all that it needs.
func (c *collector) add(d document, blobs []registry.Blob) error {
	digest, err := d.Digest()
	if err != nil {
		return err
	}
	mediaType, err := d.MediaType()
	if err != nil {
		return err
	}
	raw, err := d.RawManifest()
	if err != nil {
		return err
	}
	c.bytes += len(raw)
	if len(c.content.manifests) == maxManifests || c.bytes > maxManifestBytes {
		return fmt.Errorf("image %s: it has more than %d manifests, or %d bytes of them", c.content.root, maxManifests, maxManifestBytes)
	}
	c.content.manifests = append(c.content.manifests, &manifest{digest, mediaType, raw, blobs})
	return nil
}

func (c *collector) index(index v1.ImageIndex, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("image %s: indexes lie more than %d deep in each other", c.content.root, maxDepth)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, child := range m.Manifests {
		if c.seen[child.Digest] {
			continue
		}
		c.seen[child.Digest] = true
		if err := c.child(index, child, depth); err != nil {
			return err
		}
	}
	return c.add(index, nil)
}

func (c *collector) child(index v1.ImageIndex, child v1.Descriptor, depth int) error {
	switch {
	case child.MediaType.IsIndex():
		inner, err := index.ImageIndex(child.Digest)
		if err != nil {
			return err
		}
		return c.index(inner, depth+1)
	case child.MediaType.IsImage():
		img, err := index.Image(child.Digest)
		if err != nil {
			return err
		}
		return c.image(img)
	}
	return fmt.Errorf("image %s: its part %s is %q, neither an image nor an index", c.content.root, child.Digest, string(child.MediaType))
}

func (c *collector) image(img v1.Image) error {
	digest, err := img.ConfigName()
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	blobs := []registry.Blob{config{img, v1.Descriptor{Digest: digest, Size: m.Config.Size}}}
	for _, layer := range layers {
		mediaType, err := layer.MediaType()
		if err != nil {
			return err
		}
		// Layers with an address of their own are not in registries, nor in layouts.
		if mediaType.IsDistributable() {
			blobs = append(blobs, layer)
		}
	}
	return c.add(img, blobs)
}

// config is an image's config as a blob.
type config struct {
	of   v1.Image
	desc v1.Descriptor
}

func (c config) Digest() (v1.Hash, error) { return c.desc.Digest, nil }
func (c config) Size() (int64, error)     { return c.desc.Size, nil }
func (c config) Compressed() (io.ReadCloser, error) {
	raw, err := c.of.RawConfigFile()
	return io.NopCloser(bytes.NewReader(raw)), err
}

// elsewhere is a blob that other repositories may have.
type elsewhere struct {
	registry.Blob
	repositories []name.Repository
}

func (e elsewhere) Repositories() []name.Repository { return e.repositories }

// blobsOf returns the blobs of some manifests, each once, the largest first:
// the one that takes longest must not begin last.
func blobsOf(manifests []*manifest) ([]registry.Blob, error) {
	type sized struct {
		blob registry.Blob
		size int64
	}
	var all []sized
	seen := map[v1.Hash]bool{}
	for _, m := range manifests {
		for _, b := range m.blobs {
			digest, err := b.Digest()
			if err != nil {
				return nil, err
			}
			size, err := b.Size()
			if err != nil {
				return nil, err
			}
			if !seen[digest] {
				seen[digest] = true
				all = append(all, sized{b, size})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b sized) int { return cmp.Compare(b.size, a.size) })
	blobs := make([]registry.Blob, len(all))
	for i, s := range all {
		blobs[i] = s.blob
	}
	return blobs, nil
}
