package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// layersAtOnce bounds the layers that are rewritten side by side. More gain
// nothing: the compressor uses every core by itself.
const layersAtOnce = 3

// Normalization is how [Normalize] treats an image.
type Normalization struct {
	// Date of the image and of what its history adds to the base's.
	Date time.Time
	// Base returns the config of the image that the one for p was built on, or
	// nil for none. Layers that both have stay as they are; so do the dates of
	// the base's history. Default: no image has a base.
	Base func(p v1.Platform) *v1.ConfigFile
	// Pack compresses those layers of the base that are not, without changing
	// their files. It is for archives of docker save, which hold none that a
	// registry has; elsewhere a layer is as its registry has it.
	Pack bool
	// Annotations are added to those that manifests have.
	Annotations map[string]string
	// Memory remembers the layers that were rewritten; default: none does.
	Memory *Memory
}

// Normalize gives the image root in layout, or every image of the index root,
// the form that the embedded engine gives the images it builds: file times that
// do not tell when it was built, one compression, dates of n.Date. So equal
// content has equal digests, whichever builder it comes from. It returns the
// root of the new image, with its platform; an index of several is as [Assemble]
// makes it, without attestations, which speak of digests that are gone.
//
// It only adds blobs: name the new root afterwards, and sweep the old one.
// Layers are streamed, some at once, and verified; what cannot be read is a
// [Damaged] error. An image of this form already is returned as it is.
func Normalize(ctx context.Context, layout *Layout, root v1.Descriptor, n Normalization) (v1.Descriptor, error) {
	images, _, err := Split(layout, root)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("normalize %s: %w", root.Digest, err)
	}
	for i, desc := range images {
		if images[i], err = n.image(ctx, layout, desc); err != nil {
			return v1.Descriptor{}, fmt.Errorf("normalize %s: %w", desc.Digest, err)
		}
	}
	if len(images) == 1 {
		return images[0], nil
	}
	index, err := readDocument(layout, root)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return Assemble(layout, images, index.Notes)
}

// image returns what became of the image desc.
func (n Normalization) image(ctx context.Context, layout *Layout, desc v1.Descriptor) (v1.Descriptor, error) {
	view, err := openImage(layout, desc)
	if err != nil {
		return v1.Descriptor{}, err
	}
	diffIDs, err := view.diffIDs()
	if err != nil {
		return v1.Descriptor{}, err
	}
	var base *v1.ConfigFile
	if n.Base != nil {
		base = n.Base(*desc.Platform)
	}
	layers := make([]packed, len(diffIDs)) // each goroutine writes its own place
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	for i, own := range sharedLayers(base, diffIDs) {
		layers[i] = packed{Descriptor: view.doc.Layers[i], diffID: diffIDs[i]}
		g.Go(func() (err error) {
			if layers[i], err = n.layer(gctx, layout, layers[i], own); err != nil {
				return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return v1.Descriptor{}, err
	}
	made, err := n.rewrite(layout, view, layers, base)
	made.Platform, made.Annotations = desc.Platform, desc.Annotations
	return made, err
}

// sharedLayers tells for each layer whether it is the image's own: the layers
// up to the first that base does not have in the same place are not.
func sharedLayers(base *v1.ConfigFile, diffIDs []v1.Hash) []bool {
	own := make([]bool, len(diffIDs))
	differs := base == nil
	for i, id := range diffIDs {
		differs = differs || i >= len(base.RootFS.DiffIDs) || base.RootFS.DiffIDs[i] != id
		own[i] = differs
	}
	return own
}

// packed is a layer as a manifest and a config name it.
type packed struct {
	v1.Descriptor
	diffID v1.Hash
}

// layer returns what becomes of a layer, the image's own or its base's.
func (n Normalization) layer(ctx context.Context, layout *Layout, l packed, own bool) (packed, error) {
	if !l.MediaType.IsDistributable() {
		return l, nil // lies at its URLs
	}
	// An Incoming that knows the layer from another image did not take it in.
	own = own || !layout.Has(l.Descriptor)
	rewrite := normalTar
	if !own {
		if !n.Pack || l.Digest != l.diffID {
			l.MediaType = ociLayer(l.MediaType)
			return l, nil
		}
		rewrite = copyTar
	}
	if made, ok := n.Memory.recall(l.Digest, own); ok && made.From == l.diffID && layout.Has(made.descriptor()) {
		return packed{made.descriptor(), made.DiffID}, nil
	}
	view := &layer{desc: l.Descriptor, place: layout.where(), blobs: layout, diffID: &l.diffID}
	made := packed{Descriptor: v1.Descriptor{MediaType: types.OCILayer}}
	if err := made.make(ctx, layout, view, rewrite); err != nil {
		return packed{}, err
	}
	n.Memory.note(l, own, made)
	return made, nil
}

// make writes the blob of what rewrite makes of the tar in from.
func (p *packed) make(ctx context.Context, layout *Layout, from *layer, rewrite func(context.Context, io.Writer, io.Reader) error) error {
	tar, err := from.Uncompressed()
	if err != nil {
		return err
	}
	defer tar.Close()
	p.Digest, p.Size, err = layout.write(func(w io.Writer) error {
		packer, err := NewPacker(w, true)
		if err != nil {
			return err
		}
		err = errors.Join(rewrite(ctx, packer, tar), packer.Close())
		p.diffID = packer.DiffID()
		return err
	})
	if _, ok := errors.AsType[*Damaged](err); err != nil && !ok {
		return fmt.Errorf("%s: %w", from.what(), err)
	}
	return err
}

func copyTar(ctx context.Context, w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, contextReader{ctx, r})
	return err
}
