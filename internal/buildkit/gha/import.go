package gha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/cache/remotecache"
	v1 "github.com/moby/buildkit/cache/remotecache/v1"
	cacheimporttypes "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/worker"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	actionscache "github.com/tonistiigi/go-actions-cache"
	"golang.org/x/sync/errgroup"
)

// maxIndex bounds an index, in bytes: 10,000 records are 4 MB.
const maxIndex = 64 << 20

type importer struct{ store *store }

// Importer makes an importer; its type is [remotecache.ResolveCacheImporterFunc].
func Importer(_ context.Context, _ session.Group, attrs map[string]string) (remotecache.Importer, ocispecs.Descriptor, error) {
	s, err := open(attrs)
	return &importer{s}, ocispecs.Descriptor{}, err
}

// Resolve implements remotecache.Importer: it reads the indexes of all branches
// that the token may read.
func (i *importer) Resolve(ctx context.Context, _ ocispecs.Descriptor, id string, w worker.Worker) (solver.CacheManager, error) {
	limited, cancel := context.WithTimeoutCause(ctx, i.store.timeout,
		fmt.Errorf("GitHub Actions cache: no answer within %s", i.store.timeout))
	defer cancel()
	scopes := i.store.Scopes()
	caches := make([]solver.CacheManager, len(scopes))
	g, inner := errgroup.WithContext(limited)
	g.SetLimit(jobs)
	for n, s := range scopes {
		g.Go(func() error {
			chains, err := i.index(inner, s.Scope)
			if err != nil {
				return err
			}
			keys, results, err := v1.NewCacheKeyStorage(chains, w)
			if err != nil {
				return err
			}
			caches[n] = solver.NewCacheManager(ctx, id, keys, results)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, late(limited, err)
	}
	return solver.NewCombinedCacheManager(caches, nil), nil
}

// index reads the latest index of a branch. None is an empty one.
func (i *importer) index(ctx context.Context, branch string) (*v1.CacheChains, error) {
	chains := v1.NewCacheChains()
	// A key finds what begins with it, the newest first.
	entry, err := i.store.load(ctx, i.store.indexKey(branch))
	if err != nil || entry == nil {
		return chains, err
	}
	text := &bounded{left: maxIndex}
	if err := entry.WriteTo(ctx, text); err != nil {
		return nil, quiet(err)
	}
	var config cacheimporttypes.CacheConfig
	if err := json.Unmarshal(text.all, &config); err != nil {
		return nil, fmt.Errorf("GitHub Actions cache: index: %w", err)
	}
	layers := v1.DescriptorProvider{}
	for _, l := range config.Layers {
		source, err := i.layer(l)
		if err != nil {
			return nil, fmt.Errorf("GitHub Actions cache: layer %.80q: %w", l.Blob, err)
		}
		layers[l.Blob] = v1.DescriptorProviderPair{Descriptor: source.desc, Provider: source, InfoProvider: source}
	}
	return chains, v1.ParseConfig(config, layers, chains)
}

func (i *importer) layer(l cacheimporttypes.CacheLayer) (*layer, error) {
	if l.Annotations == nil {
		return nil, errors.New("the index says nothing of it")
	}
	if err := errors.Join(l.Blob.Validate(), l.Annotations.DiffID.Validate()); err != nil {
		return nil, err
	}
	said := map[string]string{labels.LabelUncompressed: l.Annotations.DiffID.String()}
	if created := l.Annotations.CreatedAt; !created.IsZero() {
		text, err := created.MarshalText()
		if err != nil {
			return nil, err
		}
		said[createdAt] = string(text)
	}
	return &layer{store: i.store, desc: ocispecs.Descriptor{
		MediaType: l.Annotations.MediaType, Digest: l.Blob, Size: l.Annotations.Size, Annotations: said,
	}}, nil
}

// layer is a blob in the cache. BuildKit checks its size and its digest when it
// is copied from here.
type layer struct {
	store *store
	desc  ocispecs.Descriptor

	mu    sync.Mutex
	entry *actionscache.Entry // once it was found
}

func (l *layer) find(ctx context.Context, blob digest.Digest) (*actionscache.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entry == nil && blob == l.desc.Digest {
		var err error
		if l.entry, err = l.store.load(ctx, blobKey(blob)); err != nil {
			return nil, err
		}
	}
	if l.entry == nil || blob != l.desc.Digest {
		return nil, fmt.Errorf("GitHub Actions cache: layer %s: %w", blob, errdefs.ErrNotFound)
	}
	return l.entry, nil
}

// Info implements content.InfoProvider.
func (l *layer) Info(ctx context.Context, blob digest.Digest) (content.Info, error) {
	_, err := l.find(ctx, blob)
	return content.Info{Digest: l.desc.Digest, Size: l.desc.Size}, err
}

// ReaderAt implements content.Provider.
func (l *layer) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	entry, err := l.find(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	// The context of the call ends before the reading does.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &reader{entry.Download(ctx), cancel, desc.Size}, nil
}

type reader struct {
	blob   actionscache.ReaderAtCloser
	cancel context.CancelFunc
	size   int64
}

// ReadAt implements content.ReaderAt: nothing lies behind the blob's size.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.size {
		return 0, io.EOF
	}
	n, err := r.blob.ReadAt(p[:min(int64(len(p)), r.size-off)], off)
	if err != nil && err != io.EOF {
		err = quiet(err)
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	defer r.cancel()
	return r.blob.Close()
}

// Size implements content.ReaderAt.
func (r *reader) Size() int64 { return r.size }

// bounded takes as many bytes as are left.
type bounded struct {
	all  []byte
	left int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("GitHub Actions cache: index is larger than %d bytes", maxIndex)
	}
	b.all = append(b.all, p...)
	return len(p), nil
}
