package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imagewright/imagewright/test/images"
)

// odd-image KIND DESTINATION makes an image that something is wrong with,
// although every digest in it is right. The destination is a layout (…/) or a
// reference to push to. KIND is
//
//   - foreign: an index for linux/s390x alone
//   - cut: a layer whose compressed stream ends early
//   - torn: a layer whose archive ends in the middle of a file
//   - noise: a layer that is no archive
//   - liar: a layer that is not the one that the configuration names
func makeOddImage(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	if len(args) != 2 {
		ts.Fatalf("usage: odd-image kind destination")
	}
	kind, to := args[0], args[1]
	if kind == "foreign" {
		index, err := foreignIndex()
		ts.Check(err)
		ts.Check(remote.WriteIndex(reference(ts, to), index))
		return
	}
	layer, err := oddLayer(kind)
	ts.Check(err)
	if layer.compressed == nil {
		ts.Fatalf("there is no odd image %q", kind)
	}
	made, err := images.Compose(nil, []images.Step{{CreatedBy: "COPY odd", Layer: layer}}, nil)
	ts.Check(err)
	if strings.HasSuffix(to, "/") {
		ts.Check(images.WriteLayout(ts.MkAbs(filepath.Clean(to)), made))
		return
	}
	ts.Check(remote.Write(reference(ts, to), made))
}

// foreignIndex holds an image for an architecture that no machine here has.
func foreignIndex() (v1.ImageIndex, error) {
	layer, err := images.TextLayer(map[string]string{"name": "foreign"})
	if err != nil {
		return nil, err
	}
	made, err := images.Compose(nil, []images.Step{{CreatedBy: "COPY name", Layer: layer}}, nil)
	if err != nil {
		return nil, err
	}
	config, err := made.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture = "s390x"
	if made, err = mutate.ConfigFile(made, config); err != nil {
		return nil, err
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add:        made,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}},
	}), nil
}

// stream is a layer whose bytes nobody has looked into.
type stream struct {
	compressed   []byte
	uncompressed v1.Hash // what the configuration says
}

func (s *stream) Digest() (v1.Hash, error) {
	hash, _, err := v1.SHA256(bytes.NewReader(s.compressed))
	return hash, err
}
func (s *stream) DiffID() (v1.Hash, error) { return s.uncompressed, nil }
func (s *stream) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.compressed)), nil
}
func (s *stream) Uncompressed() (io.ReadCloser, error) { return s.Compressed() } // nobody asks
func (s *stream) Size() (int64, error)                 { return int64(len(s.compressed)), nil }
func (s *stream) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }

func oddLayer(kind string) (*stream, error) {
	plain, err := packageArchive()
	if err != nil {
		return nil, err
	}
	named := plain // what the configuration names
	keep := 1.0    // of the compressed bytes
	switch kind {
	case "cut":
		keep = 0.5
	case "torn":
		plain = plain[:len(plain)*2/3]
		named = plain
	case "noise":
		plain = bytes.Repeat([]byte("no archive\n"), 200)
		named = plain
	case "liar":
		named = []byte("another")
	default:
		return &stream{}, nil
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	hash, _, err := v1.SHA256(bytes.NewReader(named))
	return &stream{packed.Bytes()[:int(float64(packed.Len())*keep)], hash}, err
}

// packageArchive is a tar of a package that scan finds, and a larger file after
// it.
func packageArchive() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, file := range []struct{ name, text string }{
		{"usr/lib/node_modules/hello/package.json", `{"name": "hello", "version": "1.0.0"}`},
		{"usr/share/hello/words", strings.Repeat("hello ", 1000)},
	} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.text))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, file.text); err != nil {
			return nil, err
		}
	}
	err := w.Close() // before the bytes are taken: it writes the end
	return b.Bytes(), err
}
