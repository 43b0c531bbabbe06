package registry

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// MaxManifest is the largest manifest that is read, in bytes: what the
// distribution specification asks registries to take at least.
const MaxManifest = 4 << 20

// acceptManifests are all the kinds there are. A registry that misses the one
// it has would convert it, or say that there is none.
func acceptManifests() http.Header {
	return http.Header{"Accept": {strings.Join([]string{
		string(types.OCIImageIndex),
		string(types.OCIManifestSchema1),
		string(types.DockerManifestList),
		string(types.DockerManifestSchema2),
		string(types.DockerManifestSchema1Signed),
		string(types.DockerManifestSchema1),
		"*/*",
	}, ", ")}}
}

// Manifest is a manifest as the registry has it.
type Manifest struct {
	Descriptor v1.Descriptor
	Raw        []byte
}

// Head returns digest, media type and size of the manifest ref points to. The
// digest is the registry's word; that of a digest reference is checked.
func (c *Client) Head(ctx context.Context, ref name.Reference) (v1.Descriptor, error) {
	t := c.target(ref.Context(), Pull)
	url := c.url(t, "manifests", ref.Identifier())
	resp, err := c.get(ctx, t, http.MethodHead, url, acceptManifests())
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := c.expect(resp, http.StatusOK); err != nil {
		return v1.Descriptor{}, err
	}
	discard(resp)
	digest, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err != nil || resp.ContentLength < 0 || resp.Header.Get("Content-Type") == "" {
		// The specification lets a registry leave them out: look for ourselves.
		m, err := c.Manifest(ctx, ref)
		return m.Descriptor, err
	}
	if d, ok := ref.(name.Digest); ok && digest.String() != d.DigestStr() {
		return v1.Descriptor{}, mismatch(http.MethodHead, url, "the registry answers with %s", digest)
	}
	return v1.Descriptor{MediaType: mediaType(resp), Size: resp.ContentLength, Digest: digest}, nil
}

// Manifest reads the manifest ref points to, at most [MaxManifest] bytes, and
// checks its digest: against a digest reference, else against what the
// registry says it is.
func (c *Client) Manifest(ctx context.Context, ref name.Reference) (Manifest, error) {
	t := c.target(ref.Context(), Pull)
	url := c.url(t, "manifests", ref.Identifier())
	resp, err := c.get(ctx, t, http.MethodGet, url, acceptManifests())
	if err != nil {
		return Manifest{}, err
	}
	if err := c.expect(resp, http.StatusOK); err != nil {
		return Manifest{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return Manifest{}, c.transportError(resp.Request, err)
	}
	if len(raw) > MaxManifest {
		return Manifest{}, mismatch(http.MethodGet, url, "the manifest is larger than %d bytes", MaxManifest)
	}

	kind := mediaType(resp)
	claimed := resp.Header.Get("Docker-Content-Digest")
	if kind == types.DockerManifestSchema1Signed {
		claimed = "" // its digest leaves the signatures out
	}
	if d, ok := ref.(name.Digest); ok {
		claimed = d.DigestStr()
	}
	digest, err := digestOf(raw, claimed)
	if err != nil {
		return Manifest{}, mismatch(http.MethodGet, url, "%w", err)
	}
	if claimed != "" && digest.String() != claimed {
		return Manifest{}, mismatch(http.MethodGet, url, "the content has digest %s instead of %s", digest, printable(claimed, 140))
	}
	return Manifest{Raw: raw, Descriptor: v1.Descriptor{MediaType: kind, Size: int64(len(raw)), Digest: digest}}, nil
}

// PutManifest stores raw under ref, a tag or its digest, and checks that the
// registry took it as it is.
func (c *Client) PutManifest(ctx context.Context, ref name.Reference, mediaType string, raw []byte) error {
	t := c.target(ref.Context(), Push)
	url := c.url(t, "manifests", ref.Identifier())
	resp, err := c.send(ctx, t, http.MethodPut, url, http.Header{"Content-Type": {mediaType}}, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if err := c.expect(resp, http.StatusCreated, http.StatusOK, http.StatusAccepted); err != nil {
		return err
	}
	discard(resp)
	answered := resp.Header.Get("Docker-Content-Digest")
	if answered == "" {
		return nil // allowed; whoever needs to know reads it back
	}
	want, err := digestOf(raw, answered)
	if err != nil {
		return mismatch(http.MethodPut, url, "%w", err)
	}
	if answered != want.String() {
		return mismatch(http.MethodPut, url, "the registry stored %s instead of %s", printable(answered, 140), want)
	}
	return nil
}

// DeleteManifest deletes a manifest, and with it, on most registries, every
// tag that points to it.
func (c *Client) DeleteManifest(ctx context.Context, ref name.Digest) error {
	return c.delete(ctx, ref)
}

// DeleteTag deletes a tag and leaves its manifest. Not every registry can:
// see [IsUnsupported].
func (c *Client) DeleteTag(ctx context.Context, ref name.Tag) error {
	return c.delete(ctx, ref)
}

func (c *Client) delete(ctx context.Context, ref name.Reference) error {
	t := c.target(ref.Context(), Delete)
	resp, err := c.get(ctx, t, http.MethodDelete, c.url(t, "manifests", ref.Identifier()), nil)
	if err != nil {
		return err
	}
	if err := c.expect(resp, http.StatusAccepted, http.StatusOK, http.StatusNoContent); err != nil {
		return err
	}
	discard(resp)
	return nil
}

// digestOf hashes raw with the algorithm of the digest like, or SHA-256 where
// that is empty.
func digestOf(raw []byte, like string) (v1.Hash, error) {
	algorithm := "sha256"
	if like != "" {
		h, err := v1.NewHash(like)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%q is not a digest", printable(like, 140))
		}
		algorithm = h.Algorithm
	}
	hasher, err := v1.Hasher(algorithm)
	if err != nil {
		return v1.Hash{}, err
	}
	hasher.Write(raw)
	return v1.Hash{Algorithm: algorithm, Hex: hex.EncodeToString(hasher.Sum(nil))}, nil
}

// mediaType is the answer's, without parameters.
func mediaType(resp *http.Response) types.MediaType {
	value := resp.Header.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(value); err == nil {
		return types.MediaType(t)
	}
	return types.MediaType(value)
}
