package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/moby/buildkit/util/archiveutil"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/imagewright/imagewright/internal/fault"
)

// archiveHeaderBytes is as much as BuildKit itself looks at to tell an archive
// from a Dockerfile.
const archiveHeaderBytes = 1024

// archive is a tar, packed or not. It is handed to the builder as it is and
// unpacked there, where no name or link in it leads anywhere but into the
// context.
type archive struct {
	open func() (io.ReadCloser, error)
}

// upload makes a for one session, which may read it once, and tells the address
// it is fetched from.
func (a *archive) upload() (string, session.Attachable, error) {
	stream, err := a.open()
	if err != nil {
		return "", nil, fault.Failed(fmt.Errorf("read the build context: %w", err), "")
	}
	uploads := uploadprovider.New()
	return uploads.Add(stream), uploads, nil
}

func fileArchive(path string) (*archive, error) {
	a := &archive{open: func() (io.ReadCloser, error) { return os.Open(path) }}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is not a file either"))
	}
	f, err := a.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	header := make([]byte, archiveHeaderBytes)
	n, err := io.ReadFull(f, header)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if !archiveutil.IsArchive(header[:n]) {
		return nil, errors.New("it is a file, but no tar archive")
	}
	return a, nil
}

// stdinContext reads standard input: an archive, or a Dockerfile that needs no
// context.
func stdinContext(stdin io.Reader) (buildContext, error) {
	header := make([]byte, archiveHeaderBytes)
	n, err := io.ReadFull(stdin, header)
	switch {
	case n == 0:
		return buildContext{}, fault.Usage(errors.New("input context: standard input is empty"), "pipe an archive or a Dockerfile into it")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return buildContext{}, fault.Failed(fmt.Errorf("read standard input: %w", err), "")
	}
	header = header[:n]
	whole := io.MultiReader(bytes.NewReader(header), stdin)
	if !archiveutil.IsArchive(header) {
		text, err := readDockerfileText(whole, "standard input")
		return buildContext{Dockerfile: text}, err
	}
	packed, err := spool(whole)
	if err != nil {
		return buildContext{}, fault.Failed(fmt.Errorf("keep the archive from standard input: %w", err), "free some space in TMPDIR")
	}
	return buildContext{Archive: packed}, nil
}

// spool keeps stream in a file that has no name and so goes with this process,
// however it ends: several builders read an archive once each.
func spool(stream io.Reader) (*archive, error) {
	f, err := os.CreateTemp("", "imagewright-context-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	size, err := io.Copy(f, stream)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &archive{open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, 0, size)), nil
	}}, nil
}

// memoryFS is files by name, in one directory.
type memoryFS map[string][]byte

// Walk implements fsutil.FS.
func (m memoryFS) Walk(_ context.Context, target string, fn fs.WalkDirFunc) error {
	target = filepath.Clean("/" + target)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if target != "/" && target != "/"+name {
			continue
		}
		entry := &fsutil.DirEntryInfo{Stat: &types.Stat{Path: name, Mode: 0o644, Size: int64(len(m[name]))}}
		if err := fn(name, entry, nil); err != nil {
			return err
		}
	}
	return nil
}

// Open implements fsutil.FS.
func (m memoryFS) Open(name string) (io.ReadCloser, error) {
	text, ok := m[filepath.Clean(name)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}
