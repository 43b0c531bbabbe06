package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Kind is what an entry of a layer is.
type Kind int

// The kinds of entries.
const (
	File     Kind = iota
	Dir           // a directory
	Symlink       // Entry.Linkname is its target, as it stands there
	Hardlink      // Entry.Linkname is the path of another entry
	Whiteout      // Entry.Path is removed from the layers below
	Opaque        // what the layers below have in directory Entry.Path is removed
	Other         // devices, named pipes
)

// Entry is one entry of a layer.
type Entry struct {
	// Path is relative to the image's root, clean, and never leaves it:
	// "etc/passwd". The root itself is ".".
	Path     string
	Kind     Kind
	Mode     fs.FileMode
	Size     int64 // of a File, in bytes
	Linkname string
	UID, GID int
}

// Limits bound a walk. Zero means the default.
type Limits struct {
	Entries int   // default 4 million
	Bytes   int64 // of the tar, and of the files in it; default 64 GiB
}

const (
	defaultEntries    = 4 << 20
	defaultLayerBytes = 64 << 30
	// maxPath is Linux's PATH_MAX: no runtime can make a longer one.
	maxPath = 4096

	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh." // AUFS's own bookkeeping, which nobody applies
)

// Walk calls visit for every entry of layer, in its order, after having
// checked nothing: the layer is known to be the right one only when Walk
// returns nil, so keep what visit found until then. See [WalkLayer].
func Walk(ctx context.Context, layer v1.Layer, limits Limits, visit func(Entry, io.Reader) error) error {
	h, err := layer.DiffID()
	if err != nil {
		return err
	}
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	err = WalkLayer(ctx, r, limits, visit)
	if _, ok := errors.AsType[*Damaged](err); ok {
		return err // names the layer
	}
	if err != nil {
		return fmt.Errorf("layer with diff ID %s: %w", h, err)
	}
	return nil
}

// WalkLayer calls visit for every entry of the uncompressed layer tar r, in
// its order; an entry that is there twice is visited twice. The reader is a
// File's content, valid until visit returns; it need not be read. WalkLayer
// reads r to its end, so that a reader that checks a digest gets to do so.
//
// A tar that ends early, is empty, or goes beyond a limit is an error; so is
// one of visit. One that only lacks its end mark is taken for whole, as
// runtimes do: what is missing after it shows in the digest alone, so prefer
// [Walk]. Whiteouts:
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts
func WalkLayer(ctx context.Context, r io.Reader, limits Limits, visit func(Entry, io.Reader) error) error {
	w := &walk{limits: limits, visit: visit}
	if w.limits.Entries <= 0 {
		w.limits.Entries = defaultEntries
	}
	if w.limits.Bytes <= 0 {
		w.limits.Bytes = defaultLayerBytes
	}
	in := &boundedReader{r: contextReader{ctx, r}, limit: w.limits.Bytes, left: w.limits.Bytes}
	w.in = in
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return w.readError(err)
		}
		if err := w.entry(h, t); err != nil {
			return err
		}
	}
	if in.left == w.limits.Bytes {
		return errors.New("the layer is empty: even a tar of no files has an end mark")
	}
	_, err := io.Copy(io.Discard, in) // what a tar may have after its end mark
	return err
}

type walk struct {
	in      io.Reader
	limits  Limits
	visit   func(Entry, io.Reader) error
	entries int
	bytes   int64  // of the files so far; a sparse file has more than the tar
	last    string // entry read last
}

// readError prefers to say that the layer is not the right one, which shows at
// its end, to what the tar's parser makes of it.
func (w *walk) readError(err error) error {
	if _, e := io.Copy(io.Discard, w.in); e != nil {
		err = e
	}
	if _, ok := errors.AsType[*Damaged](err); ok {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the layer was cut off: it ends early after %q", w.last)
	}
	return fmt.Errorf("read layer after %q: %w", w.last, err)
}

func (w *walk) entry(h *tar.Header, content io.Reader) error {
	if w.entries++; w.entries > w.limits.Entries {
		return fmt.Errorf("the layer has more than %d entries", w.limits.Entries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if len(h.Name) > maxPath || len(h.Linkname) > maxPath {
		return fmt.Errorf("the layer has a path of more than %d bytes", maxPath)
	}
	w.last = h.Name
	e, ok, err := newEntry(h)
	if err != nil || !ok {
		return err
	}
	if e.Kind != File {
		return w.visit(e, eof{})
	}
	if w.bytes += e.Size; e.Size < 0 || w.bytes < 0 || w.bytes > w.limits.Bytes {
		return fmt.Errorf("the files of the layer are larger than %d bytes", w.limits.Bytes)
	}
	c := &contentReader{r: content, walk: w}
	if err := w.visit(e, c); err != nil {
		return err
	}
	return c.err // even if visit took it for the end
}

// contentReader is a file's content. It remembers that reading failed.
type contentReader struct {
	r    io.Reader
	walk *walk
	err  error
}

// Read implements io.Reader.
func (c *contentReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = c.walk.readError(err)
		c.err = err
	}
	return n, err
}

// newEntry returns false for what is no entry of the image.
func newEntry(h *tar.Header) (Entry, bool, error) {
	p := rooted(h.Name)
	dir, base := path.Split(p)
	switch {
	case base == opaqueName:
		return Entry{Path: path.Clean(dir), Kind: Opaque}, true, nil
	case strings.HasPrefix(base, aufsPrefix):
		return Entry{}, false, nil
	case strings.HasPrefix(base, whiteoutPrefix):
		name := strings.TrimPrefix(base, whiteoutPrefix)
		if name == "" || name == "." || name == ".." {
			return Entry{}, false, fmt.Errorf("the layer has a whiteout of nothing: %q", h.Name)
		}
		return Entry{Path: dir + name, Kind: Whiteout}, true, nil
	}
	e := Entry{Path: p, Kind: kindOfEntry(h.Typeflag), Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid}
	switch e.Kind {
	case File:
		e.Size = h.Size
		if p == "." {
			return Entry{}, false, fmt.Errorf("the layer has a file in place of its root: %q", h.Name)
		}
	case Symlink:
		e.Linkname = h.Linkname
	case Hardlink:
		e.Linkname = rooted(h.Linkname)
	}
	return e, true, nil
}

// rooted reads a path as runtimes do, with the layer's root as /: it is clean,
// relative, and "../" at its start leads nowhere.
func rooted(name string) string {
	p := strings.TrimPrefix(path.Clean("/"+name), "/")
	if p == "" {
		return "."
	}
	return p
}

func kindOfEntry(flag byte) Kind {
	switch flag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return File
	case tar.TypeDir:
		return Dir
	case tar.TypeSymlink:
		return Symlink
	case tar.TypeLink:
		return Hardlink
	default:
		return Other
	}
}

// eof is the content of what has none.
type eof struct{}

// Read implements io.Reader.
func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// boundedReader fails, rather than ends, after limit bytes.
type boundedReader struct {
	r           io.Reader
	limit, left int64
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One byte more decides between an end and too much.
		if n, err := b.r.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("the layer unpacks to more than %d bytes", b.limit)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
