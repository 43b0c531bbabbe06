package javaindex

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// fileName is what SQLite calls the index; there is no such path.
const fileName = "index.db"

// maxBytes bounds an index. The public one has 1.5 GB.
const maxBytes = 32 << 30

// onlyFile is a file system with one file, of an open descriptor. It is all that
// SQLite can reach.
type onlyFile struct {
	from io.ReaderAt // not Read: the descriptor's offset may be shared with other processes
	info fs.FileInfo
}

func newOnlyFile(f *os.File) (*onlyFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case info.Size() == 0:
		return nil, ErrEmpty
	case info.Size() > maxBytes:
		return nil, fmt.Errorf("it has %d bytes; more than %d are not read", info.Size(), int64(maxBytes))
	}
	return &onlyFile{f, info}, nil
}

// Open implements [fs.FS].
func (o *onlyFile) Open(name string) (fs.File, error) {
	if name != fileName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &handle{io.NewSectionReader(o.from, 0, o.info.Size()), o.info}, nil
}

// handle is the file, opened; it can seek, as package vfs needs.
type handle struct {
	*io.SectionReader
	info fs.FileInfo
}

func (h *handle) Stat() (fs.FileInfo, error) { return h.info, nil }

func (h *handle) Close() error { return nil }
