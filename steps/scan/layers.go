package scan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

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
	read  map[layerID]bool // layers that the parser knows
	added bool             // something is kept that was not
}

// layerID is a layer as an image names it: what it holds, and the blob that holds
// it. That the two belong together only who reads the blob knows, so what is kept
// of a layer is kept by both: else an image could name a known layer, and bring
// another blob.
type layerID struct{ diffID, blob v1.Hash }

// hash is both in one.
func (id layerID) hash() v1.Hash {
	sum := sha256.Sum256([]byte(id.diffID.String() + " " + id.blob.String()))
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// readUnknown has the layers of all images read of which nothing is kept. If there
// are any, the parser will need the others too, and gets them meanwhile.
func (r *layerReader) readUnknown(ctx context.Context, all []*inspected) error {
	var unknown atomic.Bool
	if err := eachLayer(ctx, all, func(_ context.Context, _ v1.Layer, id layerID) error {
		if r.kept != nil {
			if answer, ok := r.kept.Get(id.hash()); ok {
				return answer.Close()
			}
		}
		unknown.Store(true)
		return nil
	}); err != nil || !unknown.Load() {
		return err
	}
	return eachLayer(ctx, all, r.have)
}

// provide sees to it that the parser knows all layers of an image.
func (r *layerReader) provide(ctx context.Context, one *inspected) error {
	return eachLayer(ctx, []*inspected{one}, r.have)
}

// eachLayer calls do for each distinct layer, as many at once as there are CPUs.
func eachLayer(ctx context.Context, all []*inspected, do func(context.Context, v1.Layer, layerID) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	seen := map[layerID]bool{}
	for _, one := range all {
		for i, diffID := range one.config.RootFS.DiffIDs {
			id := layerID{diffID, one.blobs[i].Digest}
			if seen[id] {
				continue
			}
			seen[id] = true
			g.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err // another failed while this one waited its turn
				}
				return do(ctx, one.layers[i], id)
			})
		}
	}
	return g.Wait()
}

// have sees to it that the parser knows a layer, and that what it finds is kept.
func (r *layerReader) have(ctx context.Context, l v1.Layer, id layerID) error {
	r.mu.Lock()
	known := r.read[id]
	r.mu.Unlock()
	if known {
		return nil
	}
	p, err := r.parser(ctx)
	if err != nil {
		return err
	}
	if !r.handOver(ctx, p, id) {
		answer, err := r.readNow(ctx, p, l, id)
		if err != nil {
			return err
		}
		r.keep(id, answer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[id] = true
	return nil
}

// handOver hands the parser what an earlier run found in a layer.
func (r *layerReader) handOver(ctx context.Context, p *parser.Process, id layerID) bool {
	if r.kept == nil {
		return false
	}
	answer, ok := r.kept.Get(id.hash())
	if !ok {
		return false
	}
	defer answer.Close()
	if err := p.Known(ctx, id.diffID, answer); err != nil {
		r.log.Debug("what is known about a layer cannot be used", "layer", id.diffID, "reason", err)
		return false
	}
	return true
}

// keep keeps an answer; an empty one may be another the next time.
func (r *layerReader) keep(id layerID, answer []byte) {
	if r.kept == nil || answer == nil {
		return
	}
	if err := r.kept.Put(id.hash(), answer); err != nil {
		r.log.Debug("what was found in a layer is not kept", "layer", id.diffID, "reason", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added = true
}

// readNow reads a layer from the tar that the builder left beside the image, so
// that the blob need not be decompressed, else from its blob. That the builder's
// tar and blob belong together is the word of the builder, which made both.
func (r *layerReader) readNow(ctx context.Context, p *parser.Process, l v1.Layer, id layerID) ([]byte, error) {
	if f, ok := r.plain.Open(id.diffID); ok {
		defer f.Close()
		answer, err := readPlain(ctx, p, f, id.diffID)
		if err == nil || ctx.Err() != nil {
			return answer, err
		}
		r.log.Debug("the tar that the builder left cannot be used", "layer", id.diffID, "reason", err)
	}
	size, err := l.Size()
	if err != nil {
		return nil, err
	}
	return p.Layer(ctx, l, parser.Blob{Descriptor: v1.Descriptor{Digest: id.blob, Size: size}, DiffID: id.diffID})
}

func readPlain(ctx context.Context, p *parser.Process, f *os.File, diffID v1.Hash) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	blob := parser.Blob{Descriptor: v1.Descriptor{Digest: diffID, Size: info.Size()}, DiffID: diffID}
	return p.File(ctx, image.Span{File: f, Size: info.Size()}, blob)
}
