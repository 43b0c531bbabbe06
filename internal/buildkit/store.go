package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is what the store needs of an image.Layout.
type layout interface {
	Dir() string
	Has(v1.Descriptor) bool
	Put(v1.Descriptor, io.Reader) error
}

// Store is a content store over an OCI image layout, for ExportEntry.OutputStore
// of an `oci` export with tar=false, and for SolveOpt.OCIStores.
//
// A blob that is there is not written, read or hashed. One that is not is
// written as the layout writes it: verified, whole or not at all, durable. The
// layout's index.json is left alone; the caller names the new root when the
// export is done. Labels are not kept, nothing is deleted.
type Store struct {
	layout layout

	mu  sync.Mutex
	err error
}

// LayoutStore returns a content store that reads from and writes to l, an
// *image.Layout.
func LayoutStore(l layout) *Store { return &Store{layout: l} }

// Err returns the first error that a write met. BuildKit hands it back from the
// engine as text only; this one still is what it was, syscall.ENOSPC say.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Store) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// path returns where the blob lies. A digest comes from manifests, so it is
// checked before it becomes a path.
func (s *Store) path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("blob %q: %w: %w", d, err, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(s.layout.Dir(), "blobs", d.Algorithm().String(), d.Encoded()), nil
}

// Info implements content.InfoProvider.
func (s *Store) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	path, err := s.path(d)
	if err != nil {
		return content.Info{}, err
	}
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return content.Info{}, fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
	}
	return content.Info{Digest: d, Size: fi.Size(), CreatedAt: fi.ModTime(), UpdatedAt: fi.ModTime()}, nil
}

// ReaderAt implements content.Provider. What it reads is not verified here:
// BuildKit does that on the other side.
func (s *Store) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	info, err := s.Info(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	path, err := s.path(desc.Digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &blobReader{f, info.Size}, nil
}

type blobReader struct {
	*os.File
	size int64
}

// Size implements content.ReaderAt.
func (r *blobReader) Size() int64 { return r.size }

// Writer implements content.Ingester. Digest and size must be known. It returns
// errdefs.ErrAlreadyExists when the blob is there; an exporter then goes on
// without reading its own.
func (s *Store) Writer(_ context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	hash, err := v1.NewHash(o.Desc.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("write blob: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if o.Desc.Size <= 0 {
		return nil, fmt.Errorf("write blob %s: its size is not known: %w", hash, errdefs.ErrInvalidArgument)
	}
	desc := v1.Descriptor{Digest: hash, Size: o.Desc.Size}
	if s.layout.Has(desc) {
		return nil, fmt.Errorf("blob %s: %w", hash, errdefs.ErrAlreadyExists)
	}
	w := &blobWriter{store: s, desc: desc, ref: o.Ref, begun: time.Now()}
	w.begin()
	return w, nil
}

// Update implements content.Manager. Labels are not kept.
func (s *Store) Update(ctx context.Context, info content.Info, _ ...string) (content.Info, error) {
	return s.Info(ctx, info.Digest)
}

// Delete implements content.Manager, and does not.
func (s *Store) Delete(context.Context, digest.Digest) error {
	return fmt.Errorf("delete from a layout: %w", errdefs.ErrNotImplemented)
}

// Walk implements content.Manager. An export never asks.
func (s *Store) Walk(context.Context, content.WalkFunc, ...string) error {
	return fmt.Errorf("walk a layout: %w", errdefs.ErrNotImplemented)
}

// Status implements content.IngestManager. No write outlives its writer, so
// there is none to resume.
func (s *Store) Status(_ context.Context, ref string) (content.Status, error) {
	return content.Status{}, fmt.Errorf("write %q: %w", ref, errdefs.ErrNotFound)
}

// ListStatuses implements content.IngestManager.
func (s *Store) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }

// Abort implements content.IngestManager.
func (s *Store) Abort(context.Context, string) error { return nil }

var errAborted = errors.New("write given up")

// blobWriter feeds one layout.Put, which runs beside it, through a pipe.
type blobWriter struct {
	store *Store
	desc  v1.Descriptor
	ref   string
	begun time.Time

	pipe    *io.PipeWriter
	done    chan error // what Put said, once
	written int64
	closed  bool
}

func (w *blobWriter) begin() {
	r, pipe := io.Pipe()
	w.pipe, w.done, w.written = pipe, make(chan error, 1), 0
	go func(done chan<- error) {
		err := w.store.layout.Put(w.desc, r)
		done <- err
		if err == nil {
			err = errAborted // after a good Put nothing more is read
		}
		r.CloseWithError(err) // a Write that waits gets the reason
	}(w.done)
}

// Write implements io.Writer.
func (w *blobWriter) Write(p []byte) (int, error) {
	n, err := w.pipe.Write(p)
	w.written += int64(n)
	if err != nil {
		w.store.note(err)
	}
	return n, err
}

// Commit implements content.Writer.
func (w *blobWriter) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	if w.closed {
		return fmt.Errorf("blob %s: %w: writer is closed", w.desc.Digest, errdefs.ErrFailedPrecondition)
	}
	if expected != "" && expected.String() != w.desc.Digest.String() || size > 0 && size != w.desc.Size {
		w.Close()
		return fmt.Errorf("blob %s of %d bytes is committed as %s of %d: %w",
			w.desc.Digest, w.desc.Size, expected, size, errdefs.ErrFailedPrecondition)
	}
	w.closed = true
	w.pipe.Close()
	err := <-w.done
	if err != nil {
		w.store.note(err)
	}
	return err
}

// Close implements io.Closer: without a Commit before it nothing stays.
func (w *blobWriter) Close() error {
	if !w.closed {
		w.closed = true
		w.giveUp()
	}
	return nil
}

func (w *blobWriter) giveUp() {
	w.pipe.CloseWithError(errAborted)
	<-w.done
}

// Truncate implements content.Writer; only to nothing, to begin again.
func (w *blobWriter) Truncate(size int64) error {
	if size != 0 || w.closed {
		return fmt.Errorf("blob %s: truncate to %d: %w", w.desc.Digest, size, errdefs.ErrNotImplemented)
	}
	if w.written > 0 {
		w.giveUp()
		w.begin()
	}
	return nil
}

// Digest implements content.Writer.
func (w *blobWriter) Digest() digest.Digest { return digest.Digest(w.desc.Digest.String()) }

// Status implements content.Writer.
func (w *blobWriter) Status() (content.Status, error) {
	return content.Status{
		Ref: w.ref, Offset: w.written, Total: w.desc.Size, Expected: w.Digest(),
		StartedAt: w.begun, UpdatedAt: time.Now(),
	}, nil
}
