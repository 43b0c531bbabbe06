package buildkit

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/imagewright/imagewright/internal/image"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func describe(b []byte) ocispecs.Descriptor {
	return ocispecs.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func TestAStoreWritesOnlyWhatIsMissingAndRight(t *testing.T) {
	blob := bytes.Repeat([]byte("blob"), 1000)
	desc := describe(blob)
	for _, tc := range []struct {
		name  string
		write func(t *testing.T, w content.Writer) error
		kept  bool
	}{
		{"committed", func(t *testing.T, w content.Writer) error {
			return content.Copy(t.Context(), w, bytes.NewReader(blob), desc.Size, desc.Digest)
		}, true},
		{"begun again", func(t *testing.T, w content.Writer) error {
			w.Write([]byte("half of it"))
			if err := w.Truncate(0); err != nil {
				return err
			}
			w.Write(blob)
			return w.Commit(t.Context(), desc.Size, desc.Digest)
		}, true},
		{"closed without a commit", func(t *testing.T, w content.Writer) error {
			w.Write(blob)
			return errors.Join(w.Close(), errors.New("closed"))
		}, false},
		{"another content", func(t *testing.T, w content.Writer) error {
			w.Write(bytes.ToUpper(blob))
			return w.Commit(t.Context(), desc.Size, desc.Digest)
		}, false},
		{"cut short", func(t *testing.T, w content.Writer) error {
			w.Write(blob[:10])
			return w.Commit(t.Context(), 0, "")
		}, false},
		{"too long", func(t *testing.T, w content.Writer) error {
			w.Write(blob)
			w.Write(blob)
			return w.Commit(t.Context(), 0, "")
		}, false},
		{"committed as another", func(t *testing.T, w content.Writer) error {
			w.Write(blob)
			return w.Commit(t.Context(), desc.Size, digest.FromString("other"))
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLayout(t)
			s := LayoutStore(l)
			w, err := s.Writer(t.Context(), content.WithRef("r"), content.WithDescriptor(desc))
			if err != nil {
				t.Fatal(err)
			}
			if err := tc.write(t, w); (err == nil) != tc.kept {
				t.Errorf("write: %v; want success: %t", err, tc.kept)
			}
			w.Close()
			if _, err := s.Info(t.Context(), desc.Digest); (err == nil) != tc.kept {
				t.Errorf("Info() = %v; want the blob there: %t", err, tc.kept)
			}
			left, err := filepath.Glob(filepath.Join(l.Dir(), "blobs", "sha256", "*"))
			if want := map[bool]int{true: 1}[tc.kept]; err != nil || len(left) != want {
				t.Errorf("files: %q, %v; want %d", left, err, want)
			}
			if !tc.kept {
				return
			}
			if _, err := s.Writer(t.Context(), content.WithRef("r"), content.WithDescriptor(desc)); !errdefs.IsAlreadyExists(err) {
				t.Errorf("writing it again: %v; want that it exists", err)
			}
			r, err := s.ReaderAt(t.Context(), desc)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(content.NewReader(r)); !bytes.Equal(got, blob) {
				t.Errorf("read %d bytes, %v; want the blob", len(got), err)
			}
		})
	}
}

func TestAStoreRefusesWhatHasNoDigest(t *testing.T) {
	l := newLayout(t)
	s := LayoutStore(l)
	if err := os.WriteFile(filepath.Join(l.Dir(), "outside"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{"", "sha256:../../outside", "../../outside", "sha256:" + digest.Digest(strings.Repeat("A", 64))} {
		_, err := s.Writer(t.Context(), content.WithRef("r"), content.WithDescriptor(ocispecs.Descriptor{Digest: d, Size: 1}))
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("Writer(%q): %v; want an invalid argument", d, err)
		}
		if _, err := s.Info(t.Context(), d); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Info(%q): %v; want an invalid argument", d, err)
		}
	}
}

// full is a layout on a full disk.
type full struct{ *image.Layout }

func (full) Put(_ v1.Descriptor, r io.Reader) error {
	r.Read(make([]byte, 10))
	return &os.PathError{Op: "write", Path: "blobs", Err: syscall.ENOSPC}
}

func TestAStoreKeepsWhyAWriteFailed(t *testing.T) {
	s := LayoutStore(full{newLayout(t)})
	blob := bytes.Repeat([]byte("blob"), 1<<20)
	w, err := s.Writer(t.Context(), content.WithRef("r"), content.WithDescriptor(describe(blob)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(blob); !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), errAborted.Error()) {
		t.Errorf("Write() = %v; want ENOSPC alone", err)
	}
	w.Close()
	if !errors.Is(s.Err(), syscall.ENOSPC) {
		t.Errorf("Err() = %v; want ENOSPC", s.Err())
	}
}
