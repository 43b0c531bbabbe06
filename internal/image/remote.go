package image

import (
	"bytes"
	"context"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is what [Open] needs of a registry client.
type Registry interface {
	// Reference parses a reference, and decides how its host is spoken to.
	Reference(s string) (name.Reference, error)
	// Descriptor fetches the manifest ref names. What is read from it later
	// still uses ctx.
	Descriptor(ctx context.Context, ref name.Reference) (*remote.Descriptor, error)
}

// repository is one in a registry. It keeps the context of Open, because
// v1.Image takes none.
type repository struct {
	ctx      context.Context
	registry Registry
	ref      name.Reference
	root     *remote.Descriptor // already fetched
}

func openRemote(ctx context.Context, r Registry, ref name.Reference) (*repository, v1.Descriptor, error) {
	root, err := r.Descriptor(ctx, ref)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	desc := v1.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}
	return &repository{ctx: ctx, registry: r, ref: ref, root: root}, desc, nil
}

func (r *repository) where() place {
	return place{name: "registry image " + r.ref.Name(), hint: "what the registry holds is not what was pushed: push the image again"}
}

func (r *repository) manifest(desc v1.Descriptor) ([]byte, blobs, error) {
	d := r.root
	if desc.Digest != d.Digest {
		var err error
		if d, err = r.registry.Descriptor(r.ctx, r.ref.Context().Digest(desc.Digest.String())); err != nil {
			return nil, nil, err
		}
	}
	return d.Manifest, remoteBlobs{d}, nil
}

// remoteBlobs are those that one manifest names.
type remoteBlobs struct{ of *remote.Descriptor }

func (b remoteBlobs) blob(desc v1.Descriptor) (io.ReadCloser, error) {
	img, err := b.of.Image()
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if desc.Digest == m.Config.Digest {
		raw, err := img.RawConfigFile()
		return io.NopCloser(bytes.NewReader(raw)), err
	}
	l, err := img.LayerByDigest(desc.Digest)
	if err != nil {
		return nil, err
	}
	return l.Compressed()
}
