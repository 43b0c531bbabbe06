package prune

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/registry"
)

// errUntagUnsupported is returned by a registry that can only delete a manifest
// with all its tags.
var errUntagUnsupported = errors.New("the registry cannot delete a tag")

const maxConfigBytes = 4 << 20 // an image's configuration is some kilobytes

// remote is a repository of any registry that follows the OCI distribution
// specification.
type remote struct {
	client *registry.Client
	repo   name.Repository
}

func (r remote) Tags(ctx context.Context) ([]string, error) { return r.client.Tags(ctx, r.repo) }

func (r remote) Resolve(ctx context.Context, tag string) (v1.Descriptor, error) {
	return r.client.Head(ctx, r.repo.Tag(tag))
}

func (r remote) Manifest(ctx context.Context, digest v1.Hash) ([]byte, types.MediaType, error) {
	m, err := r.client.Manifest(ctx, r.repo.Digest(digest.String()))
	return m.Raw, m.Descriptor.MediaType, err
}

func (r remote) Config(ctx context.Context, config v1.Descriptor) ([]byte, error) {
	if config.Size > maxConfigBytes {
		return nil, fmt.Errorf("%d bytes; at most %d are read", config.Size, maxConfigBytes)
	}
	blob, err := r.client.Blob(ctx, r.repo, config)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

func (r remote) Referrers(ctx context.Context, digest v1.Hash) ([]v1.Descriptor, error) {
	return r.client.Referrers(ctx, r.repo.Digest(digest.String()))
}

func (r remote) Untag(ctx context.Context, tag string) error {
	err := r.client.DeleteTag(ctx, r.repo.Tag(tag))
	if registry.IsUnsupported(err) {
		return fmt.Errorf("%w: %w", errUntagUnsupported, err)
	}
	return err
}

func (r remote) Delete(ctx context.Context, digest v1.Hash) error {
	return r.client.DeleteManifest(ctx, r.repo.Digest(digest.String()))
}
