package gha

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/moby/buildkit/cache/remotecache"
	v1 "github.com/moby/buildkit/cache/remotecache/v1"
	cacheimporttypes "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/util/compression"
	"github.com/moby/buildkit/util/progress"
	"github.com/opencontainers/go-digest"
	actionscache "github.com/tonistiigi/go-actions-cache"
	"golang.org/x/sync/errgroup"
)

const (
	// createdAt is the annotation in which BuildKit keeps a layer's date.
	createdAt = "buildkit/createdat"

	// maxRivals is how many builds may write the same index at once.
	maxRivals = 16
)

type exporter struct {
	solver.CacheExporterTarget
	chains *v1.CacheChains
	store  *store
}

// Exporter makes an exporter; its type is [remotecache.ResolveCacheExporterFunc].
func Exporter(_ context.Context, _ session.Group, attrs map[string]string) (remotecache.Exporter, error) {
	s, err := open(attrs)
	if err != nil {
		return nil, err
	}
	chains := v1.NewCacheChains()
	return &exporter{CacheExporterTarget: chains, chains: chains, store: s}, nil
}

// Name implements remotecache.Exporter.
func (*exporter) Name() string { return "exporting to GitHub Actions Cache" }

// Config implements remotecache.Exporter.
func (*exporter) Config() remotecache.Config {
	return remotecache.Config{Compression: compression.New(compression.Default)}
}

// Finalize implements remotecache.Exporter: it writes the layers that are not
// there, then the index that names them.
func (e *exporter) Finalize(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.store.timeout,
		fmt.Errorf("GitHub Actions cache: not written within %s", e.store.timeout))
	defer cancel()
	return nil, late(ctx, e.write(ctx))
}

func (e *exporter) write(ctx context.Context) error {
	config, layers, err := e.chains.Marshal(ctx)
	if err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, l := range config.Layers {
		g.Go(func() (err error) {
			layer, ok := layers[l.Blob]
			if !ok {
				return fmt.Errorf("cached layer %s has no source", l.Blob)
			}
			if config.Layers[i].Annotations, err = annotations(layer); err != nil {
				return fmt.Errorf("cached layer %s: %w", l.Blob, err)
			}
			return e.writeLayer(inner, layer)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	index, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return e.writeIndex(ctx, index)
}

// annotations are what the index says of a layer.
func annotations(layer v1.DescriptorProviderPair) (*cacheimporttypes.LayerAnnotations, error) {
	plain, err := digest.Parse(layer.Descriptor.Annotations[labels.LabelUncompressed])
	if err != nil {
		return nil, fmt.Errorf("digest of the uncompressed layer: %w", err)
	}
	said := &cacheimporttypes.LayerAnnotations{
		DiffID: plain, Size: layer.Descriptor.Size, MediaType: layer.Descriptor.MediaType,
	}
	if text := layer.Descriptor.Annotations[createdAt]; text != "" {
		if said.CreatedAt, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, err
		}
		said.CreatedAt = said.CreatedAt.UTC()
	}
	return said, nil
}

func (e *exporter) writeLayer(ctx context.Context, layer v1.DescriptorProviderPair) error {
	key := blobKey(layer.Descriptor.Digest)
	if entry, err := e.store.load(ctx, key); entry != nil || err != nil {
		return err
	}
	done := progress.OneOff(ctx, "writing layer "+layer.Descriptor.Digest.String())
	content, err := layer.Provider.ReaderAt(ctx, layer.Descriptor)
	if err != nil {
		return done(err)
	}
	defer content.Close()
	if err := e.store.save(ctx, key, content); err != nil && !errors.Is(err, os.ErrExist) {
		return done(fmt.Errorf("layer %s: %w", layer.Descriptor.Digest, err))
	}
	return done(nil)
}

// writeIndex writes the next version of the index of the branch that the token
// may write to.
func (e *exporter) writeIndex(ctx context.Context, index []byte) error {
	var branch string
	for _, s := range e.store.Scopes() {
		if s.Permission&actionscache.PermissionWrite != 0 {
			branch = s.Scope
		}
	}
	if branch == "" {
		return errors.New("GitHub Actions cache: this job's token may not write")
	}
	key := e.store.indexKey(branch)
	last, err := e.store.number(ctx, key)
	if err != nil {
		return err
	}
	// One that is there without an end is being written by another build, or by
	// one that was killed: the next number wins over it either way.
	for n := last + 1; n <= last+maxRivals; n++ {
		err = e.store.save(ctx, fmt.Sprintf("%s#%d", key, n), &memory{bytes.NewReader(index)})
		if !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// memory is a blob in memory.
type memory struct{ *bytes.Reader }

// Close implements io.Closer.
func (memory) Close() error { return nil }
