package image

import (
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Span is a part of a file, in bytes.
type Span struct {
	File   *os.File
	Offset int64
	Size   int64
}

// Raw opens a layer's blob as it lies there and checks nothing: for a reader
// that does, perhaps in another process, with [Unpack]. l is a layer of an
// opened image.
//
// Where the blob lies in a file, span is that part of it; it is valid until the
// reader is closed. Else span.File is nil, and the reader is the only way.
func Raw(l v1.Layer) (r io.ReadCloser, span Span, err error) {
	own, ok := l.(*layer)
	if !ok {
		return nil, Span{}, fmt.Errorf("layer of type %T: it is of no image that was opened here", l)
	}
	r, err = own.blobs.blob(own.desc)
	if err != nil {
		return nil, Span{}, own.place.unread(err, own.what())
	}
	return r, spanOf(r), nil
}

func spanOf(r io.Reader) Span {
	switch r := r.(type) {
	case *os.File:
		if info, err := r.Stat(); err == nil {
			return Span{r, 0, info.Size()}
		}
	case section:
		at, offset, size := r.Outer()
		if f, ok := at.(*os.File); ok {
			return Span{f, offset, size}
		}
	}
	return Span{}
}

// section is a member of an archive, which outlives it.
type section struct{ *io.SectionReader }

// Close implements io.Closer.
func (section) Close() error { return nil }

// Unpack returns the tar in the blob r of the layer that desc and diffID name.
// Its reader ends in io.EOF only when both the blob and the tar were what they
// say. Closing it closes r. The work is done in a goroutine that reads ahead.
func Unpack(r io.ReadCloser, desc v1.Descriptor, diffID v1.Hash) (io.ReadCloser, error) {
	if err := checkHash(diffID); err != nil {
		return nil, err
	}
	l := &layer{desc: desc, diffID: &diffID, blobs: single{r}, place: place{name: "image", hint: "build or fetch it again"}}
	tar, err := l.Uncompressed()
	if err != nil {
		r.Close()
		return nil, err
	}
	return readAhead(tar), nil
}

// single is the place of one blob, which is open already.
type single struct{ r io.ReadCloser }

func (s single) blob(v1.Descriptor) (io.ReadCloser, error) { return s.r, nil }
