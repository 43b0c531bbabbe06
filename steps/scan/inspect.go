package scan

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/layercache"
	"github.com/imagewright/imagewright/steps/scan/parser"
)

// inspected is one image and what is in it.
type inspected struct {
	image    image.PlatformImage
	config   *v1.ConfigFile
	raw      []byte // config, as it is stored
	configID v1.Hash
	layers   []v1.Layer

	*parser.Report // filled when all layers are known
}

// open reads the images' configurations.
func open(images []image.PlatformImage) ([]*inspected, error) {
	all := make([]*inspected, len(images))
	for i, img := range images {
		one, err := openOne(img)
		if err != nil {
			return nil, err
		}
		all[i] = one
	}
	return all, nil
}

func openOne(img image.PlatformImage) (one *inspected, err error) {
	one = &inspected{image: img}
	if one.config, err = img.Image.ConfigFile(); err != nil {
		return nil, err
	}
	if one.raw, err = img.Image.RawConfigFile(); err != nil {
		return nil, err
	}
	if one.configID, err = img.Image.ConfigName(); err != nil {
		return nil, err
	}
	if one.layers, err = img.Image.Layers(); err != nil {
		return nil, err
	}
	if len(one.layers) != len(one.config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("image %s: its configuration names %d layers, its manifest %d", img.Digest, len(one.config.RootFS.DiffIDs), len(one.layers))
	}
	return one, nil
}

// layerReader sees to it that the parser knows layers, by the shortest way.
type layerReader struct {
	parser *parser.Process
	cache  *layercache.Cache  // nil: none
	plain  *image.PlainLayers // nil: none
	log    *slog.Logger
}

// readAll has all layers of all images read, as many at once as there are CPUs,
// each distinct one once.
func (r *layerReader) readAll(ctx context.Context, all []*inspected) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	seen := map[v1.Hash]bool{}
	for _, one := range all {
		for i, diffID := range one.config.RootFS.DiffIDs {
			if seen[diffID] {
				continue
			}
			seen[diffID] = true
			g.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err // another failed while this one waited its turn
				}
				return r.read(ctx, one.layers[i], diffID)
			})
		}
	}
	return g.Wait()
}

// read takes what is known about a layer, else reads it and keeps what is found.
func (r *layerReader) read(ctx context.Context, l v1.Layer, diffID v1.Hash) error {
	if r.known(ctx, diffID) {
		return nil
	}
	answer, err := r.readPlain(ctx, diffID)
	if answer == nil && err == nil {
		answer, err = r.readBlob(ctx, l, diffID)
	}
	if err != nil || answer == nil || r.cache == nil {
		return err
	}
	if err := r.cache.Put(diffID, answer); err != nil {
		r.log.Debug("what was found in a layer is not kept", "layer", diffID, "reason", err)
	}
	return nil
}

// known hands the parser what an earlier run found in a layer.
func (r *layerReader) known(ctx context.Context, diffID v1.Hash) bool {
	if r.cache == nil {
		return false
	}
	answer, ok := r.cache.Get(diffID)
	if !ok {
		return false
	}
	defer answer.Close()
	if err := r.parser.Known(ctx, diffID, answer); err != nil {
		r.log.Debug("what is known about a layer cannot be used", "layer", diffID, "reason", err)
		return false
	}
	return true
}

// readPlain reads the tar that the builder left beside the image, so that the
// blob need not be decompressed. The answer is nil where that does not work.
func (r *layerReader) readPlain(ctx context.Context, diffID v1.Hash) ([]byte, error) {
	f, ok := r.plain.Open(diffID)
	if !ok {
		return nil, nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil
	}
	blob := parser.Blob{Descriptor: v1.Descriptor{Digest: diffID, Size: info.Size()}, DiffID: diffID}
	answer, err := r.parser.File(ctx, image.Span{File: f, Size: info.Size()}, blob)
	if err != nil {
		r.log.Debug("the tar that the builder left cannot be used", "layer", diffID, "reason", err)
		return nil, ctx.Err()
	}
	return answer, nil
}

func (r *layerReader) readBlob(ctx context.Context, l v1.Layer, diffID v1.Hash) ([]byte, error) {
	blob := parser.Blob{DiffID: diffID}
	var err error
	if blob.Descriptor.Digest, err = l.Digest(); err != nil {
		return nil, err
	}
	if blob.Descriptor.Size, err = l.Size(); err != nil {
		return nil, err
	}
	return r.parser.Layer(ctx, l, blob)
}

// question returns what the parser needs to join an image's layers.
func (one *inspected) question(name string, p plan) (parser.Image, error) {
	img := parser.Image{Name: name, Config: one.raw, Vulnerabilities: p.vulnerabilities, PkgTypes: p.pkgTypes}
	for _, l := range one.layers {
		digest, err := l.Digest()
		if err != nil {
			return img, err
		}
		size, err := l.Size()
		if err != nil {
			return img, err
		}
		img.Layers = append(img.Layers, v1.Descriptor{Digest: digest, Size: size})
	}
	return img, nil
}
