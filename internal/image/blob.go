package image

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/durable"
)

// Has tells whether the blob is in the layout with the size of desc. It is not
// read: a blob gets its name only after it was checked.
func (l *Layout) Has(desc v1.Descriptor) bool {
	if checkHash(desc.Digest) != nil {
		return false
	}
	info, err := os.Lstat(l.blobPath(desc.Digest))
	return err == nil && info.Mode().IsRegular() && info.Size() == desc.Size
}

// Put stores r as the blob desc names and does nothing, reading included, when
// the layout has it. A content of another size or digest is an error and gets
// no name. The blob is on the disk when Put returns; its name is, at the
// latest, when [Layout.SetRoot] does. Many Puts may run at once.
func (l *Layout) Put(desc v1.Descriptor, r io.Reader) (err error) {
	if err := checkHash(desc.Digest); err != nil {
		return err
	}
	if l.Has(desc) {
		return nil
	}
	defer func() {
		if _, ok := errors.AsType[*Damaged](err); err != nil && !ok {
			err = fmt.Errorf("layout %s: write blob %s: %w", l.dir, desc.Digest, err)
		}
	}()
	tmp, err := l.temporary()
	if err != nil {
		return err
	}
	defer l.discard(tmp)
	incoming := place{name: "layout " + l.dir}
	v := verified(io.NopCloser(r), incoming, "new blob "+desc.Digest.String(), desc.Digest, desc.Size)
	if _, err := io.Copy(tmp, struct{ io.Reader }{v}); err != nil {
		return err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), l.blobPath(desc.Digest))
}

// write stores what produce writes, a blob whose digest shows only at its end.
// The same holds of it as of one that Put stored.
func (l *Layout) write(produce func(io.Writer) error) (v1.Hash, int64, error) {
	tmp, err := l.temporary()
	if err != nil {
		return v1.Hash{}, 0, err
	}
	defer l.discard(tmp)
	sum := sha256.New()
	if err := produce(io.MultiWriter(tmp, sum)); err != nil {
		return v1.Hash{}, 0, err
	}
	size, err := tmp.Seek(0, io.SeekCurrent)
	if err != nil {
		return v1.Hash{}, 0, err
	}
	h := hashOf(sum)
	if l.Has(v1.Descriptor{Digest: h, Size: size}) {
		return h, size, nil
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return v1.Hash{}, 0, err
	}
	return h, size, os.Rename(tmp.Name(), l.blobPath(h))
}

// putRaw stores a document and returns what names it.
func (l *Layout) putRaw(kind types.MediaType, raw []byte) (v1.Descriptor, error) {
	desc := descriptorOf(kind, raw)
	return desc, l.Put(desc, bytes.NewReader(raw))
}

// temporary makes a file beside the blobs that Sweep leaves alone until it is
// discarded.
func (l *Layout) temporary() (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tmp, err := os.CreateTemp(l.blobDir(), durable.TempPrefix+"*")
	if err == nil {
		l.writing[filepath.Base(tmp.Name())] = true
	}
	return tmp, err
}

func (l *Layout) discard(tmp *os.File) {
	tmp.Close()
	os.Remove(tmp.Name()) // no longer there after the rename
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.writing, filepath.Base(tmp.Name()))
}

// Blob opens the blob desc names. At its end the reader gives, in place of
// io.EOF, a [Damaged] error unless all of it was what desc says.
func (l *Layout) Blob(desc v1.Descriptor) (io.ReadCloser, error) {
	return openBlob(l.where(), l, desc)
}

func openBlob(p place, from blobs, desc v1.Descriptor) (io.ReadCloser, error) {
	if err := checkHash(desc.Digest); err != nil {
		return nil, p.damagedBy(err, "", "a blob cannot be read")
	}
	what := "blob " + desc.Digest.String()
	r, err := from.blob(desc)
	if err != nil {
		return nil, p.unread(err, what)
	}
	return verified(r, p, what, desc.Digest, desc.Size), nil
}

func (l *Layout) blob(desc v1.Descriptor) (io.ReadCloser, error) {
	f, size, err := l.openFile(l.blobPath(desc.Digest), "blob "+desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if desc.Size != unknownSize && size != desc.Size {
		f.Close()
		return nil, l.where().damaged("blob "+desc.Digest.String(), "has %d bytes where %d are expected", size, desc.Size)
	}
	return f, nil
}

func (l *Layout) manifest(desc v1.Descriptor) ([]byte, blobs, error) {
	r, err := l.blob(desc)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	raw, err := readAtMost(r)
	return raw, l, err
}

// isBlobName tells whether name is one that Put gives.
func isBlobName(name string) bool {
	return checkHash(v1.Hash{Algorithm: "sha256", Hex: name}) == nil
}
