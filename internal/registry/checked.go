package registry

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// checked reads content of a known size and digest. The read that would reach
// the end fails when the digest is wrong, so that nobody gets the whole.
type checked struct {
	r      io.ReadCloser
	left   int64
	hasher hash.Hash
	want   string
}

func (c *checked) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.hasher.Write(p[:n])
	c.left -= int64(n)
	switch {
	case c.left > 0 && err == io.EOF:
		return 0, errLocal{fmt.Errorf("%d bytes of the content are missing: the image is damaged here", c.left)}
	case c.left > 0 && err != nil:
		return 0, errLocal{err}
	case c.left == 0 && hex.EncodeToString(c.hasher.Sum(nil)) != c.want:
		// Where the content comes from may know better what is wrong with it.
		if err == nil {
			_, err = c.r.Read(make([]byte, 1))
		}
		if err != nil && err != io.EOF {
			return 0, errLocal{err}
		}
		return 0, errLocal{errors.New("the content does not match the digest: the image is damaged here")}
	}
	return n, nil
}

func (c *checked) Close() error { return c.r.Close() }
