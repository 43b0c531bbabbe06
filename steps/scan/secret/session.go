package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// Session scans the files of one layer. Its methods may be called by several
// goroutines at once; [Session.Wait] comes last.
type Session struct {
	ctx     context.Context
	scanner *Scanner
	small   bool // there is too little to scan for making a sieve
	chunks  sync.WaitGroup

	mu     sync.Mutex
	begun  int     // files
	files  []*file // those with findings
	weight int     // of their findings, bytes
	err    error
}

// file is one that is scanned.
type file struct {
	path   string // as the findings name it
	binary bool
	order  int // in the session
	found  []finding
}

// finding is one and the chunk it was found in.
type finding struct {
	chunk int
	ftypes.SecretFinding
}

// Scan reads a file of size bytes and has it scanned; path, without leading slash,
// is one that the scanner wants. It returns when the file is read; what is found,
// and what goes wrong later, [Session.Wait] returns. Of a binary file no more than
// the head is read, unless it is compiled Python.
func (x *Session) Scan(path string, r io.Reader, size int64) error {
	head := make([]byte, min(size, headSize))
	n, err := io.ReadFull(r, head)
	if err != nil {
		return fmt.Errorf("look for secrets in %q: %w", path, unexpected(err))
	}
	f := x.file("/"+path, isBinary(head))
	if f.binary && filepath.Ext(path) != ".pyc" {
		return nil
	}
	body := &counter{r: io.MultiReader(bytes.NewReader(head[:n]), r)}
	var from io.Reader = body
	if f.binary {
		from = &printable{r: body}
	}
	if err := x.cut(f, from); err != nil {
		if err == x.failure() {
			return err // names its file, which may be another
		}
		return fmt.Errorf("look for secrets in %q: %w", path, err)
	}
	if body.n < size {
		return fmt.Errorf("look for secrets in %q: %w", path, io.ErrUnexpectedEOF)
	}
	return nil
}

func (x *Session) file(path string, binary bool) *file {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begun++
	return &file{path: path, binary: binary, order: x.begun}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// cut has the chunks of a file scanned.
func (x *Session) cut(f *file, r io.Reader) error {
	s := stream{r: r}
	for {
		c, err := x.rest()
		if err != nil {
			return err
		}
		n, at, err := s.cut(c.data[:bufferSize])
		if err != nil {
			x.scanner.chunks <- c
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		x.chunks.Go(func() {
			defer func() { x.scanner.chunks <- c }()
			found, err := x.look(c, n, f)
			x.add(f, at, found, err)
		})
	}
}

// rest returns a chunk at rest, when there is one.
func (x *Session) rest() (*chunk, error) {
	if err := x.failure(); err != nil {
		return nil, err
	}
	select {
	case c := <-x.scanner.chunks:
		if c == nil {
			c = &chunk{}
		}
		return c, nil
	case <-x.ctx.Done():
		return nil, x.ctx.Err()
	}
}
