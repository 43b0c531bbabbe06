package scan

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/kept"
	"github.com/imagewright/imagewright/steps/scan/parser"
)

// layerReader sees to it that the parser knows layers, by the shortest way.
type layerReader struct {
	*reading
	kept  *kept.Answers      // nil: none
	plain *image.PlainLayers // nil: none
	log   *slog.Logger

	mu    sync.Mutex
	read  map[v1.Hash]bool // layers that the parser knows
	added bool             // something is kept that was not
}

// readUnknown has the layers of all images read of which nothing is kept.
func (r *layerReader) readUnknown(ctx context.Context, all []*inspected) error {
	return eachLayer(ctx, all, func(ctx context.Context, l v1.Layer, diffID v1.Hash) error {
		if r.kept != nil {
			if answer, ok := r.kept.Get(diffID); ok {
				return answer.Close()
			}
		}
		return r.have(ctx, l, diffID)
	})
}

// provide sees to it that the parser knows all layers of an image.
func (r *layerReader) provide(ctx context.Context, one *inspected) error {
	return eachLayer(ctx, []*inspected{one}, r.have)
}

// eachLayer calls do for each distinct layer, as many at once as there are CPUs.
func eachLayer(ctx context.Context, all []*inspected, do func(context.Context, v1.Layer, v1.Hash) error) error {
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
				return do(ctx, one.layers[i], diffID)
			})
		}
	}
	return g.Wait()
}

// have sees to it that the parser knows a layer, and that what it finds is kept.
func (r *layerReader) have(ctx context.Context, l v1.Layer, diffID v1.Hash) error {
	r.mu.Lock()
	known := r.read[diffID]
	r.mu.Unlock()
	if known {
		return nil
	}
	p, err := r.parser(ctx)
	if err != nil {
		return err
	}
	if !r.handOver(ctx, p, diffID) {
		answer, err := r.readNow(ctx, p, l, diffID)
		if err != nil {
			return err
		}
		r.keep(diffID, answer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[diffID] = true
	return nil
}

// handOver hands the parser what an earlier run found in a layer.
func (r *layerReader) handOver(ctx context.Context, p *parser.Process, diffID v1.Hash) bool {
	if r.kept == nil {
		return false
	}
	answer, ok := r.kept.Get(diffID)
	if !ok {
		return false
	}
	defer answer.Close()
	if err := p.Known(ctx, diffID, answer); err != nil {
		r.log.Debug("what is known about a layer cannot be used", "layer", diffID, "reason", err)
		return false
	}
	return true
}

// keep keeps an answer; an empty one may be another the next time.
func (r *layerReader) keep(diffID v1.Hash, answer []byte) {
	if r.kept == nil || answer == nil {
		return
	}
	if err := r.kept.Put(diffID, answer); err != nil {
		r.log.Debug("what was found in a layer is not kept", "layer", diffID, "reason", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added = true
}

// readNow reads a layer from the tar that the builder left beside the image, so
// that the blob need not be decompressed, else from its blob.
func (r *layerReader) readNow(ctx context.Context, p *parser.Process, l v1.Layer, diffID v1.Hash) ([]byte, error) {
	if f, ok := r.plain.Open(diffID); ok {
		defer f.Close()
		answer, err := readPlain(ctx, p, f, diffID)
		if err == nil || ctx.Err() != nil {
			return answer, err
		}
		r.log.Debug("the tar that the builder left cannot be used", "layer", diffID, "reason", err)
	}
	blob := parser.Blob{DiffID: diffID}
	var err error
	if blob.Descriptor.Digest, err = l.Digest(); err != nil {
		return nil, err
	}
	if blob.Descriptor.Size, err = l.Size(); err != nil {
		return nil, err
	}
	return p.Layer(ctx, l, blob)
}

func readPlain(ctx context.Context, p *parser.Process, f *os.File, diffID v1.Hash) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	blob := parser.Blob{Descriptor: v1.Descriptor{Digest: diffID, Size: info.Size()}, DiffID: diffID}
	return p.File(ctx, image.Span{File: f, Size: info.Size()}, blob)
}
