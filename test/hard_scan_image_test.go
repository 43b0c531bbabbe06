package test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// blobLayer is a layer of a hostile image: what its blob holds, and what the
// image says of it.
type blobLayer struct {
	write  func(io.Writer) error // the blob
	diffID v1.Hash               // zero: that of what plain wrote
	plain  *plainSum             // nil: the blob is the tar itself
}

// plainSum is the digest of a tar before it was compressed.
type plainSum struct{ v1.Hash }

// packed is a gzipped layer of what write puts into its tar.
func packed(write func(*tar.Writer) error) blobLayer {
	return gzipped(func(w io.Writer) error {
		archive := tar.NewWriter(w)
		return errors.Join(write(archive), archive.Close())
	})
}

// gzipped is a layer of these bytes, gzipped.
func gzipped(write func(io.Writer) error) blobLayer {
	plain := &plainSum{}
	return blobLayer{plain: plain, write: func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		sum := sha256.New()
		buffered := bufio.NewWriterSize(io.MultiWriter(z, sum), 1<<20)
		err = errors.Join(write(buffered), buffered.Flush(), z.Close())
		plain.Hash = v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sum.Sum(nil))}
		return err
	}}
}

// asItIs is a layer whose blob is no more than these bytes, and whose tar is
// another: nobody gets so far as to see that.
func asItIs(write func(io.Writer) error) blobLayer {
	return blobLayer{write: write, diffID: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064d", 0)}}
}

// plainLayer is a layer that is not compressed.
func plainLayer(text []byte) blobLayer {
	return blobLayer{write: func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}}
}

// hello is a layer with a package that has no vulnerability.
func hello() blobLayer {
	return packed(func(w *tar.Writer) error {
		return addText(w, "usr/lib/node_modules/hello/package.json", `{"name": "hello", "version": "1.0.0"}`)
	})
}

func addText(w *tar.Writer, name, text string) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	_, err := io.WriteString(w, text)
	return err
}

// layout writes an image of these layers, of the hello layer if there are none,
// as an OCI layout into the checkout.
func (s *hostileScan) layout(name string, layers ...blobLayer) {
	s.t.Helper()
	s.configured(name, func(*v1.ConfigFile) {}, layers...)
}

// configured is layout with a configuration that is changed.
func (s *hostileScan) configured(name string, change func(*v1.ConfigFile), layers ...blobLayer) {
	s.t.Helper()
	if len(layers) == 0 {
		layers = []blobLayer{hello()}
	}
	dir := s.path(name)
	blobs := filepath.Join(dir, "blobs", "sha256")
	check(s.t, os.MkdirAll(blobs, 0o755))
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for i, l := range layers {
		desc := writeBlob(s.t, blobs, l.write)
		desc.MediaType = types.OCILayer
		manifest.Layers = append(manifest.Layers, desc)
		id := desc.Digest
		switch {
		case l.plain != nil:
			id = l.plain.Hash
		case l.diffID != v1.Hash{}:
			id = l.diffID
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, id)
		config.History = append(config.History, v1.History{CreatedBy: fmt.Sprintf("COPY layer-%d /", i+1), Created: v1.Time{Time: time.Unix(0, 0)}})
	}
	change(&config)
	manifest.Config = writeJSON(s.t, blobs, types.OCIConfigJSON, config)
	writeRoot(s.t, dir, writeJSON(s.t, blobs, types.OCIManifestSchema1, manifest))
}

// writeRoot makes a folder with blobs a layout.
func writeRoot(t *testing.T, dir string, roots ...v1.Descriptor) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	text, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: roots})
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "index.json"), text, 0o644))
}

func writeJSON(t *testing.T, blobs string, kind types.MediaType, v any) v1.Descriptor {
	t.Helper()
	text, err := json.Marshal(v)
	check(t, err)
	desc := writeBlob(t, blobs, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	desc.MediaType = kind
	return desc
}

// writeBlob streams a blob into a file that is then called after its digest.
func writeBlob(t *testing.T, blobs string, write func(io.Writer) error) v1.Descriptor {
	t.Helper()
	f, err := os.CreateTemp(blobs, "new-")
	check(t, err)
	defer f.Close()
	sum := sha256.New()
	check(t, write(io.MultiWriter(f, sum)))
	size, err := f.Seek(0, io.SeekCurrent)
	check(t, err)
	hash := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sum.Sum(nil))}
	check(t, os.Rename(f.Name(), filepath.Join(blobs, hash.Hex)))
	return v1.Descriptor{Digest: hash, Size: size}
}

// repeated writes the same bytes again and again.
func repeated(w io.Writer, text []byte, times int) error {
	for range times {
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// gzipOf returns data as a gzip stream, of which several in a row are one.
func gzipOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	check(t, err)
	_, err = z.Write(data)
	check(t, errors.Join(err, z.Close()))
	return b.Bytes()
}

// header is one of a tar with these bytes in place of others.
func header(t *testing.T, h *tar.Header, at int, instead string) []byte {
	t.Helper()
	var b bytes.Buffer
	check(t, tar.NewWriter(&b).WriteHeader(h))
	block := b.Bytes()
	copy(block[at:], instead)
	return checksummed(block)
}

// checksummed gives a changed header its checksum.
func checksummed(block []byte) []byte {
	copy(block[148:156], "        ") // it counts itself as spaces
	sum := 0
	for _, c := range block[:512] {
		sum += int(c)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// sparse is a file of this size in GNU's old form of sparse ones: a block of
// text, then nothing.
func sparse(t *testing.T, name string, size int64) []byte {
	t.Helper()
	block := header(t, &tar.Header{Name: name, Size: 512, Mode: 0o644, Format: tar.FormatGNU}, 156, "S")
	copy(block[386:], fmt.Sprintf("%011o\x00%011o\x00", 0, 512)) // where the text is, and how long
	wide := make([]byte, 12)
	wide[0] = 0x80 // a binary number
	binary.BigEndian.PutUint64(wide[4:], uint64(size))
	copy(block[410:], wide) // nothing, at the end
	copy(block[422:], fmt.Sprintf("%011o\x00", 0))
	copy(block[483:], wide) // the size of it all
	return append(checksummed(block), bytes.Repeat([]byte("text "), 103)[:512]...)
}
