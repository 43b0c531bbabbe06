package image

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// blobsAtOnce bounds the blobs of one image that Import reads side by side.
const blobsAtOnce = 4

// Import copies the images that are opened into layout, each with its config
// and layers, and returns what names them, with their platforms and in their
// order. Every blob is verified on its way; one that the layout has is not read
// again. An image of an archive of docker save gets a manifest, whose layers are
// as they lie there: see [Normalization.Pack].
//
// Blobs are copied and not linked: whoever wrote the source may still write to
// its files after they were verified. Name a root afterwards; nothing does before.
func Import(ctx context.Context, layout *Layout, opened *Opened) ([]v1.Descriptor, error) {
	images, err := opened.Images()
	if err != nil {
		return nil, err
	}
	descs := make([]v1.Descriptor, len(images))
	for i, one := range images {
		view, ok := one.Image.(*imageView)
		if !ok {
			return nil, fmt.Errorf("image %s is a %T", one.Digest, one.Image)
		}
		if err := view.copyBlobs(ctx, layout); err != nil {
			return nil, fmt.Errorf("copy image %s: %w", one.Digest, err)
		}
		if descs[i], err = layout.putRaw(view.doc.MediaType, view.doc.raw); err != nil {
			return nil, fmt.Errorf("copy image %s: %w", one.Digest, err)
		}
		descs[i].Platform, descs[i].Annotations = &one.Platform, view.doc.Annotations
	}
	return descs, nil
}

// copyBlobs puts all that the image's manifest names into layout.
func (i *imageView) copyBlobs(ctx context.Context, layout *Layout) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(blobsAtOnce)
	for _, desc := range i.doc.children() {
		if layout.Has(desc) || !desc.MediaType.IsDistributable() && desc.Digest != i.doc.Config.Digest {
			continue // the layers of the latter lie at their URLs
		}
		g.Go(func() error {
			r, err := openBlob(i.from.where(), i.doc.blobs, desc)
			if err != nil {
				return err
			}
			defer r.Close()
			return layout.Put(desc, contextReader{ctx, r})
		})
	}
	return g.Wait()
}
