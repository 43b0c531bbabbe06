package push

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/registry"
)

// send sees to it that the repository has the whole image: blobs first, then
// the manifests that name them, the parts of an index before it.
//
// The repository is asked for each manifest and not for the root alone: an
// index may be there although a part of it was deleted.
func (t *target) send(ctx context.Context) error {
	missing, err := t.missing(ctx)
	if err != nil {
		return err
	}
	if err := t.sendBlobs(ctx, missing); err != nil {
		return err
	}
	for _, m := range missing {
		ref := t.repo.Digest(m.digest.String())
		if err := t.client.PutManifest(ctx, ref, string(m.mediaType), m.raw); err != nil {
			return fmt.Errorf("manifest %s: %w", m.digest, err)
		}
	}
	return nil
}

// missing returns the manifests that the repository does not have, in order.
func (t *target) missing(ctx context.Context) ([]*manifest, error) {
	all := t.content.manifests
	there := make([]bool, len(all)) // each goroutine writes its own place
	err := each(ctx, t.jobs, all, func(ctx context.Context, i int, m *manifest) error {
		_, err := t.client.Head(ctx, t.repo.Digest(m.digest.String()))
		if registry.IsNotFound(err) {
			return nil
		}
		there[i] = err == nil
		return err
	})
	if err != nil {
		return nil, err
	}
	var missing, present []*manifest
	for i, m := range all {
		if there[i] {
			present = append(present, m)
		} else {
			missing = append(missing, m)
		}
	}
	t.skipped, err = size(present, missing)
	return missing, err
}

// sendBlobs sends the blobs of some manifests.
func (t *target) sendBlobs(ctx context.Context, of []*manifest) error {
	blobs, err := blobsOf(of)
	if err != nil {
		return err
	}
	elsewhereToo := t.elsewhere()
	var sent, skipped atomic.Int64
	err = each(ctx, t.jobs, blobs, func(ctx context.Context, i int, b registry.Blob) error {
		size, err := b.Size()
		if err != nil {
			return err
		}
		n, err := t.client.PutBlob(ctx, t.repo, elsewhere{b, elsewhereToo})
		if err != nil {
			return fmt.Errorf("blob %d of %d: %w", i+1, len(blobs), err)
		}
		sent.Add(n)
		skipped.Add(size - n)
		return nil
	})
	t.sent += sent.Load()
	t.skipped += skipped.Load()
	return err
}

// elsewhere returns the repositories of this registry that have the image by now.
func (t *target) elsewhere() []name.Repository {
	var repositories []name.Repository
	for _, s := range t.siblings {
		repositories = append(repositories, s.repo)
	}
	return repositories
}

// size is the bytes of the blobs of some manifests that no other one has.
func size(of, others []*manifest) (int64, error) {
	total, err := sum(append(append([]*manifest{}, of...), others...))
	if err != nil {
		return 0, err
	}
	rest, err := sum(others)
	return total - rest, err
}

func sum(of []*manifest) (int64, error) {
	blobs, err := blobsOf(of)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, b := range blobs {
		n, err := b.Size()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
