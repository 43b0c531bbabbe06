package analysis

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// maxInMemory is the largest file held in memory (bytes) when a parser needs to
// seek in it; larger ones go to a temporary file. Most programs and archives
// are smaller, and writing them to disk would cost more than parsing them.
const maxInMemory = 16 << 20

// content is one file of a layer, seekable.
type content struct {
	readSeekerAt
	size  int64
	close func() error
}

type readSeekerAt interface {
	io.ReadSeeker
	io.ReaderAt
}

// newContent reads all of r, which holds size bytes. Into buf, if that is large
// enough: then the content is valid until buf is used again.
func newContent(r io.Reader, size int64, tempDir string, buf []byte) (*content, error) {
	if size <= maxInMemory {
		data := buf
		if int64(len(data)) < size {
			data = make([]byte, size)
		}
		data = data[:size]
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, unexpected(err)
		}
		return &content{bytes.NewReader(data), size, func() error { return nil }}, nil
	}
	f, err := os.CreateTemp(tempDir, "imagewright-scan-")
	if err != nil {
		return nil, err
	}
	// Without a name it is gone when the process is, however that ends.
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := io.CopyN(f, r, size); err != nil {
		f.Close()
		return nil, unexpected(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return &content{f, size, f.Close}, nil
}

// bytes returns all of the content.
func (c *content) bytes() ([]byte, error) {
	data := make([]byte, c.size)
	if _, err := c.ReadAt(data, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
