package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	// maxMembers bounds the files of an archive; an image has three a layer.
	maxMembers = 1 << 16
	// maxMemberName bounds their names, in bytes; the longest real ones are 80.
	maxMemberName = 1 << 10
	// maxLinks bounds links to links. docker save makes one.
	maxLinks = 8
)

// archive is a tar that is read at random: its headers are read once, nothing
// is ever extracted.
type archive struct {
	path    string
	r       io.ReaderAt
	size    int64
	members map[string]member
	cut     bool // the end mark is missing
	close   func() error
}

// member is where a file of an archive is, or what it links to.
type member struct {
	offset, size int64
	link         string // cleaned, within the archive
	refused      string // why it cannot be read
}

// openArchive opens the tar at path, which may be compressed: then it is
// unpacked into a nameless file in tempDir, of at most maxBytes.
func openArchive(ctx context.Context, path string, tempDir string, maxBytes int64) (*archive, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	a, err := archiveIn(ctx, f, tempDir, maxBytes)
	if err != nil {
		f.Close()
		return nil, err
	}
	if err := a.readHeaders(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// archiveIn owns f from then on, unless it returns an error.
func archiveIn(ctx context.Context, f *os.File, tempDir string, maxBytes int64) (*archive, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	a := &archive{path: f.Name(), r: f, size: info.Size(), close: f.Close}
	if a.size == 0 {
		return nil, a.where().damaged("", "is empty")
	}
	if packed, err := compressionAt(f); err != nil || packed == plain {
		return a, err
	}
	unpacked, err := a.unpack(ctx, f, tempDir, MaxUnpacked(a.size, maxBytes))
	if err == nil {
		f.Close()
	}
	return unpacked, err
}

// openRegular follows links, since the user named the file, but opens no pipe
// or device: an archive is read at random.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Usage(fmt.Errorf("archive %s: is not a regular file (%s)", path, kindOf(info.Mode())), "an archive is read at random: write it to a file first")
	}
	return os.Open(path)
}

func (a *archive) where() place {
	return place{name: "archive " + a.path, hint: "save or copy the archive again"}
}

// unpack returns the decompressed archive. What it was in has no name from the
// start, so that nothing is left behind however this process ends.
func (a *archive) unpack(ctx context.Context, f *os.File, tempDir string, maxBytes int64) (_ *archive, err error) {
	tmp, err := os.CreateTemp(tempDir, "imagewright-archive-*")
	if err != nil {
		return nil, err
	}
	remove := func() error { return nil }
	if os.Remove(tmp.Name()) != nil { // Windows does not remove open files
		remove = func() error { return os.Remove(tmp.Name()) }
	}
	shut := func() error { return errors.Join(tmp.Close(), remove()) }
	defer func() {
		if err != nil {
			shut()
		}
	}()
	r, err := decompress(contextReader{ctx, f})
	if err != nil {
		return nil, a.unpacking(err)
	}
	defer r.Close()
	n, err := io.Copy(tmp, io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, a.unpacking(err)
	}
	if n > maxBytes {
		return nil, a.where().damaged("", "is larger than %d bytes when decompressed", maxBytes)
	}
	return &archive{path: a.path, r: tmp, size: n, close: shut}, nil
}

func (a *archive) unpacking(err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("archive %s: decompress: %w", a.path, err) // the disk, not the archive
		if errors.Is(err, syscall.ENOSPC) {
			err = fault.Failed(err, "set TMPDIR to where there is more room")
		}
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return a.where().damaged("", "was cut off: its compressed data ends early")
	}
	return a.where().damagedBy(err, "", "cannot be decompressed")
}

func (a *archive) readHeaders(ctx context.Context) error {
	a.members = map[string]member{}
	at := io.NewSectionReader(a.r, 0, a.size)
	t := tar.NewReader(at)
	var end int64 // of the last member, with padding
	for n := 0; ; n++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := t.Next()
		if err == io.EOF {
			pos, err := at.Seek(0, io.SeekCurrent)
			a.cut = err == nil && pos < end+1024
			return err
		}
		if err != nil {
			return a.badHeader(err, n)
		}
		if n == maxMembers {
			return a.where().damaged("", "has more than %d files", maxMembers)
		}
		offset, err := at.Seek(0, io.SeekCurrent) // tar reads no further than the header
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			end = offset + (h.Size+511)/512*512
		} else {
			end = offset
		}
		if err := a.add(h, offset); err != nil {
			return err
		}
	}
}

func (a *archive) badHeader(err error, n int) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return a.where().damaged("", "was cut off: a file in it ends early")
	case errors.Is(err, tar.ErrHeader) && n == 0:
		return fault.Usage(fmt.Errorf("archive %s: is no tar archive", a.path), "give an archive of docker save or an OCI archive, plain or compressed with gzip or zstd")
	default:
		return a.where().damagedBy(err, fmt.Sprintf("file %d", n+1), "cannot be read")
	}
}

func (a *archive) add(h *tar.Header, offset int64) error {
	if len(h.Name) > maxMemberName || len(h.Linkname) > maxMemberName {
		return a.where().damaged("", "has a file name of more than %d bytes", maxMemberName)
	}
	name, ok := within("", h.Name)
	if !ok {
		return a.where().damaged("", "has a file outside of it: %q", h.Name)
	}
	m := member{offset: offset, size: h.Size}
	switch h.Typeflag {
	case tar.TypeReg:
		if isSparse(h) {
			m.refused = "is a sparse file"
		} else if offset > a.size || h.Size > a.size-offset {
			return a.where().damaged("", "was cut off: %q ends early", h.Name)
		}
	case tar.TypeSymlink:
		if m.link, ok = within(path.Dir(name), h.Linkname); !ok || path.IsAbs(h.Linkname) {
			m.refused = "is a link out of the archive"
		}
	case tar.TypeLink:
		if m.link, ok = within("", h.Linkname); !ok {
			m.refused = "is a link out of the archive"
		}
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	default:
		m.refused = "is not a regular file"
	}
	if h.Typeflag != tar.TypeReg && m.link == "" && m.refused == "" {
		m.refused = "is a link to nothing"
	}
	if _, twice := a.members[name]; twice {
		m = member{refused: "is there twice"} // readers differ in which one counts
	}
	a.members[name] = m
	return nil
}

func isSparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// within cleans a path relative to dir and tells whether it stays inside.
func within(dir, name string) (string, bool) {
	p := path.Join(dir, strings.TrimLeft(name, "/"))
	return p, p != ".." && !strings.HasPrefix(p, "../")
}

// open returns the file called name. Absent is fs.ErrNotExist.
func (a *archive) open(name string) (*io.SectionReader, error) {
	clean, ok := within("", name)
	for hops := 0; ok; hops++ {
		m, found := a.members[clean]
		switch {
		case !found && a.cut:
			return nil, a.where().damaged(fmt.Sprintf("%q", name), "is missing; the archive was cut off: it has no end mark")
		case !found:
			return nil, fs.ErrNotExist
		case m.refused != "":
			return nil, a.where().damaged(fmt.Sprintf("%q", clean), "%s", m.refused)
		case m.link == "":
			return io.NewSectionReader(a.r, m.offset, m.size), nil
		case hops == maxLinks:
			return nil, a.where().damaged(fmt.Sprintf("%q", name), "is a link to a link, more than %d times", maxLinks)
		}
		clean = m.link
	}
	return nil, a.where().damaged("", "names a file outside of it: %q", name)
}

// read returns all of the file called name. Absent is fs.ErrNotExist.
func (a *archive) read(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxDocument {
		return nil, a.where().damaged(fmt.Sprintf("%q", name), "is %d bytes; at most %d are accepted", r.Size(), maxDocument)
	}
	return io.ReadAll(r)
}

func (a *archive) has(name string) bool {
	_, ok := a.members[name]
	return ok
}
