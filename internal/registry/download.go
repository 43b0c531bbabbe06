package registry

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Blob opens the blob d of repo, whose digest and size are checked while it is
// read: an error takes the place of io.EOF when they are wrong. ctx counts
// until the blob is closed.
func (c *Client) Blob(ctx context.Context, repo name.Repository, d v1.Descriptor) (io.ReadCloser, error) {
	hasher, err := v1.Hasher(d.Digest.Algorithm)
	if err == nil && d.Size < 0 {
		err = fmt.Errorf("blob %s: %d bytes are no size", d.Digest, d.Size)
	}
	if err != nil {
		return nil, err
	}
	t := c.target(repo, Pull)
	resp, err := c.get(ctx, t, http.MethodGet, c.url(t, "blobs", d.Digest.String()), nil)
	if err != nil {
		return nil, err
	}
	if err := c.expect(resp, http.StatusOK); err != nil {
		return nil, err
	}
	return &received{client: c, resp: resp, left: d.Size, hasher: hasher, want: d.Digest}, nil
}

// received is a blob coming in.
type received struct {
	client *Client
	resp   *http.Response
	left   int64
	hasher hash.Hash
	want   v1.Hash
}

func (r *received) Read(p []byte) (int, error) {
	if r.left == 0 {
		if hex.EncodeToString(r.hasher.Sum(nil)) != r.want.Hex {
			return 0, r.wrong("the content does not match the digest")
		}
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.resp.Body.Read(p)
	r.hasher.Write(p[:n])
	r.left -= int64(n)
	switch {
	case err == io.EOF && r.left > 0:
		return n, r.wrong("the content ends too early")
	case err == io.EOF || err == nil:
		return n, nil
	}
	return n, r.client.transportError(r.resp.Request, err)
}

func (r *received) wrong(why string) error {
	return mismatch(http.MethodGet, redact(r.resp.Request.URL), "blob %s: %s", r.want, why)
}

func (r *received) Close() error { return r.resp.Body.Close() }
