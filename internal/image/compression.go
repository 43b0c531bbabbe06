package image

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// Something compressed unpacks to at most maxRatio times its size, or to
	// smallUnpacked bytes where that is more. Programs and text come to ten times,
	// logs to fifty; zeros to a thousand, or as zstd to 30,000.
	maxRatio      = 100
	smallUnpacked = 8 << 30
)

// MaxUnpacked bounds what size compressed bytes may unpack to, in bytes: at most
// limit.
func MaxUnpacked(size, limit int64) int64 {
	if size > limit/maxRatio {
		return limit
	}
	return min(limit, max(smallUnpacked, maxRatio*size))
}

// maxWindow bounds what a zstd stream may make its reader hold: 128 MiB, like
// the zstd command without --long.
const maxWindow = 128 << 20

// compression is how a stream begins.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
	unsupported // xz and bzip2: docker load takes them, we do not
)

// magicBytes is how many bytes at its start tell how a stream is compressed.
const magicBytes = 6

func compressionOf(start []byte) compression {
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		return gzipped
	case bytes.HasPrefix(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstandard
	case bytes.HasPrefix(start, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(start, []byte("BZh")):
		return unsupported
	}
	return plain
}

// compressionAt is how what r holds begins.
func compressionAt(r io.ReaderAt) (compression, error) {
	start := make([]byte, magicBytes)
	n, err := r.ReadAt(start, 0)
	if err != nil && err != io.EOF {
		return plain, err
	}
	return compressionOf(start[:n]), nil
}

// decompress goes by what the stream is, not by its media type: registries
// hold plenty of layers of which the two differ. Closing the result does not
// close r.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	start, err := b.Peek(magicBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch compressionOf(start) {
	case gzipped:
		return gzip.NewReader(b)
	case zstandard:
		// One goroutine: layers are read side by side already.
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case unsupported:
		return nil, errors.New("it is compressed with xz or bzip2; gzip and zstd are supported")
	}
	return io.NopCloser(b), nil
}
