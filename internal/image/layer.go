package image

import (
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a v1.Layer of which nothing is believed: the blob is checked
// against its descriptor, the files in it against the diff ID of the config.
type layer struct {
	desc  v1.Descriptor
	place place
	blobs blobs
	// diffID is nil for the layers of what is no image, such as a signature.
	diffID *v1.Hash
}

func (l *layer) what() string { return "layer " + l.desc.Digest.String() }

// Digest implements v1.Layer.
func (l *layer) Digest() (v1.Hash, error) { return l.desc.Digest, nil }

// Size implements v1.Layer.
func (l *layer) Size() (int64, error) { return l.desc.Size, nil }

// MediaType implements v1.Layer.
func (l *layer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

// Descriptor is what names the blob.
func (l *layer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

// DiffID implements v1.Layer.
func (l *layer) DiffID() (v1.Hash, error) {
	if l.diffID == nil {
		return v1.Hash{}, l.place.damaged(l.what(), "has no diff ID: it belongs to no image")
	}
	return *l.diffID, nil
}

// Compressed opens the blob as it lies there.
func (l *layer) Compressed() (io.ReadCloser, error) {
	r, err := l.open()
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (l *layer) open() (*verifier, error) {
	r, err := l.blobs.blob(l.desc)
	if err != nil {
		return nil, l.place.unread(err, l.what())
	}
	return verified(r, l.place, l.what(), l.desc.Digest, l.desc.Size), nil
}

// Uncompressed opens the layer's tar. Its reader ends in io.EOF only when both
// the blob and the tar were what the image says.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	want, err := l.DiffID()
	if err != nil {
		return nil, err
	}
	packed, err := l.open()
	if err != nil {
		return nil, err
	}
	if want == l.desc.Digest {
		return packed, nil // stored as it is: checked once
	}
	plain, err := decompress(packed)
	if err != nil {
		packed.Close()
		return nil, l.blame(err, packed)
	}
	return verified(&unpacked{layer: l, packed: packed, plain: plain}, l.place, "tar of "+l.what(), want, unknownSize), nil
}

// blame finds out whether a layer that cannot be decompressed was made so or
// became so. packed has not been closed.
func (l *layer) blame(err error, packed *verifier) error {
	if _, ok := errors.AsType[*Damaged](err); ok {
		return err
	}
	if e := packed.finish(); e != nil {
		return e
	}
	return l.place.damagedBy(err, l.what(), "cannot be decompressed")
}

// unpacked is the tar in a blob; at its end the rest of the blob is read, so
// that the blob's verdict counts too.
type unpacked struct {
	layer  *layer
	packed *verifier
	plain  io.ReadCloser
}

// Read implements io.Reader.
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.plain.Read(p)
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		if e := u.packed.finish(); e != nil {
			return n, e
		}
		return n, io.EOF
	default:
		return n, u.layer.blame(err, u.packed)
	}
}

// Close implements io.Closer.
func (u *unpacked) Close() error { return errors.Join(u.plain.Close(), u.packed.Close()) }
