package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// unknownSize is the size of a content that only its digest is known of.
const unknownSize = -1

// checkHash refuses digests that could not be a file name of this package: a
// v1.Hash can be made by hand, and its parser also takes sha512.
func checkHash(h v1.Hash) error {
	if h.Algorithm != "sha256" {
		return fmt.Errorf("digest %q: only sha256 is supported", h.String())
	}
	if len(h.Hex) != hex.EncodedLen(sha256.Size) || strings.Trim(h.Hex, "0123456789abcdef") != "" {
		return fmt.Errorf("digest %q: want 64 hexadecimal digits", h.String())
	}
	return nil
}

// hashOf is the digest of what sum, a SHA-256, was given.
func hashOf(sum hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
}

// verifier passes r on and knows at its end whether it was the content named
// want. The error takes the place of io.EOF, so that nobody who reads to the
// end can miss it.
type verifier struct {
	r     io.ReadCloser
	place place
	what  string // "blob sha256:…"
	want  v1.Hash
	size  int64 // or unknownSize
	sum   hash.Hash
	count int64
	end   error // what every further Read returns
}

func verified(r io.ReadCloser, p place, what string, want v1.Hash, size int64) *verifier {
	return &verifier{r: r, place: p, what: what, want: want, size: size, sum: sha256.New()}
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if v.end != nil {
		return 0, v.end
	}
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	v.count += int64(n)
	switch {
	case v.size != unknownSize && v.count > v.size:
		v.end = v.place.damaged(v.what, "is longer than the %d bytes its descriptor says", v.size)
	case err == io.EOF:
		v.end = v.verdict()
	case err != nil:
		v.end = err
		if _, ok := errors.AsType[*Damaged](err); !ok {
			v.end = fmt.Errorf("%s: %s: %w", v.place.name, v.what, err)
		}
	}
	return n, v.end
}

func (v *verifier) verdict() error {
	if v.size != unknownSize && v.count < v.size {
		return v.place.damaged(v.what, "was cut off: it has %d of %d bytes", v.count, v.size)
	}
	if got := hashOf(v.sum); got != v.want {
		return v.place.damaged(v.what, "has another content: got %s", got)
	}
	return io.EOF
}

// finish reads what is left and returns the verdict: nil for the right content.
func (v *verifier) finish() error {
	_, err := io.Copy(io.Discard, struct{ io.Reader }{v})
	return err
}

// Close implements io.Closer.
func (v *verifier) Close() error { return v.r.Close() }

// contextReader ends a long copy when ctx does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
