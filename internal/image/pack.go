package image

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/pgzip"
)

const (
	// gzipBlock is what one core compresses at a time, in bytes. The output
	// depends on it, but not on the number of cores: changing it changes the
	// digest of every layer.
	gzipBlock = 1 << 20

	// packBuffer gathers the tar's many small writes, in bytes.
	packBuffer = 128 << 10
)

// LayerTime is the latest time a file in a layer has: everything a build makes
// is newer, and gets this. 1980, not 1970, because zip, and with it jar, cannot
// say anything earlier.
func LayerTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// A Packer makes a layer's blob from its tar. All layers that builds make go
// through one, so that equal tars are equal blobs wherever they were built.
type Packer struct {
	out  *bufio.Writer
	gzip *pgzip.Writer // nil: the blob is the tar
	tar  *bufio.Writer
	sum  hash.Hash
}

// NewPacker returns a packer that writes the blob to w, compressed or not, and
// the tar as it is to also. It must be closed: its goroutines end then.
func NewPacker(w io.Writer, compress bool, also ...io.Writer) (*Packer, error) {
	p := &Packer{out: bufio.NewWriterSize(w, packBuffer), sum: sha256.New()}
	var stream io.Writer = p.out
	if compress {
		p.gzip = pgzip.NewWriter(p.out)
		if err := p.gzip.SetConcurrency(gzipBlock, runtime.GOMAXPROCS(0)); err != nil {
			return nil, err
		}
		stream = p.gzip
	}
	p.tar = bufio.NewWriterSize(io.MultiWriter(append([]io.Writer{stream, p.sum}, also...)...), packBuffer)
	return p, nil
}

// Write takes the next part of the tar.
func (p *Packer) Write(b []byte) (int, error) { return p.tar.Write(b) }

// Close finishes the blob. It does not close what it is written to.
func (p *Packer) Close() error {
	err := p.tar.Flush()
	if p.gzip != nil {
		err = errors.Join(err, p.gzip.Close())
	}
	return errors.Join(err, p.out.Flush())
}

// DiffID is the digest of the tar, once the packer is closed.
func (p *Packer) DiffID() v1.Hash { return hashOf(p.sum) }
