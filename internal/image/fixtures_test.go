package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// file is an entry of a tar made by a test.
type file struct {
	name, content, link string
	kind                byte // default: a regular file
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: 0o644, Typeflag: f.kind, Linkname: f.link}
		if f.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, f.content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func gzipBytes(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func value[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// makeImage makes an image for arch with one layer per list of files.
func makeImage(t testing.TB, arch string, layers ...[]file) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range layers {
		raw := makeTar(t, files...)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, tarball.WithMediaType(types.OCILayer))
		must(t, err)
		img, err = mutate.AppendLayers(img, l)
		must(t, err)
	}
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

func hello(t testing.TB, arch string) v1.Image {
	return makeImage(t, arch, []file{{name: "etc/", kind: tar.TypeDir}, {name: "etc/hello", content: "hello " + arch}}, []file{{name: "app", content: strings.Repeat("x", 5000)}})
}

// attestation is what BuildKit puts beside an image in an index.
func attestation(t testing.TB) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, static.NewLayer([]byte(`{"_type":"statement"}`), "application/vnd.in-toto+json"))
	must(t, err)
	return img
}

// helloIndex is an index of two platforms, each with an attestation.
func helloIndex(t testing.TB) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		idx = mutate.AppendManifests(idx,
			mutate.IndexAddendum{Add: hello(t, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}},
			mutate.IndexAddendum{Add: attestation(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	}
	return idx
}

// manifest is what v1.Image and v1.ImageIndex have in common.
type manifest interface {
	RawManifest() ([]byte, error)
	MediaType() (types.MediaType, error)
}

func putBytes(t testing.TB, l *Layout, mt types.MediaType, raw []byte) v1.Descriptor {
	t.Helper()
	h, n, err := v1.SHA256(bytes.NewReader(raw))
	must(t, err)
	desc := v1.Descriptor{MediaType: mt, Digest: h, Size: n}
	must(t, l.Put(desc, bytes.NewReader(raw)))
	return desc
}

func putManifest(t testing.TB, l *Layout, m manifest) v1.Descriptor {
	t.Helper()
	return putBytes(t, l, value[types.MediaType](t)(m.MediaType()), value[[]byte](t)(m.RawManifest()))
}

func putImage(t testing.TB, l *Layout, img v1.Image) v1.Descriptor {
	t.Helper()
	m := value[*v1.Manifest](t)(img.Manifest())
	putBytes(t, l, m.Config.MediaType, value[[]byte](t)(img.RawConfigFile()))
	for i, layer := range value[[]v1.Layer](t)(img.Layers()) {
		r := value[io.ReadCloser](t)(layer.Compressed())
		must(t, l.Put(m.Layers[i], r))
		r.Close()
	}
	return putManifest(t, l, img)
}

func putIndex(t testing.TB, l *Layout, idx v1.ImageIndex) v1.Descriptor {
	t.Helper()
	for _, desc := range value[*v1.IndexManifest](t)(idx.IndexManifest()).Manifests {
		putImage(t, l, value[v1.Image](t)(idx.Image(desc.Digest)))
	}
	return putManifest(t, l, idx)
}

// newLayout is a layout with img as its root.
func newLayout(t testing.TB, img v1.Image) (*Layout, v1.Descriptor) {
	t.Helper()
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	desc := putImage(t, l, img)
	must(t, l.SetRoot(desc))
	return l, desc
}

// filesBelow are the files of dir as entries of an archive.
func filesBelow(t testing.TB, dir string) []file {
	t.Helper()
	var files []file
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files = append(files, file{name: filepath.ToSlash(rel), content: string(raw)})
		return err
	}))
	return files
}

// ociFiles are those of an OCI archive of idx.
func ociFiles(t testing.TB, idx v1.ImageIndex) []file {
	t.Helper()
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	must(t, l.SetRoot(putIndex(t, l, idx)))
	return filesBelow(t, l.Dir())
}

// dockerFiles are those of an archive of docker save as Docker made them
// before version 25: directories, and a link for a layer that is there twice.
func dockerFiles(t testing.TB, tags []string, img v1.Image) []file {
	t.Helper()
	config := string(value[[]byte](t)(img.RawConfigFile()))
	id := value[v1.Hash](t)(img.ConfigName()).Hex
	entry := dockerEntry{Config: id + ".json", RepoTags: tags}
	files := []file{{name: entry.Config, content: config}}
	first := map[v1.Hash]string{}
	for i, layer := range value[[]v1.Layer](t)(img.Layers()) {
		dir := "layer" + string(rune('a'+i))
		entry.Layers = append(entry.Layers, dir+"/layer.tar")
		diffID := value[v1.Hash](t)(layer.DiffID())
		files = append(files, file{name: dir + "/", kind: tar.TypeDir}, file{name: dir + "/VERSION", content: "1.0"})
		if at, ok := first[diffID]; ok {
			files = append(files, file{name: dir + "/layer.tar", kind: tar.TypeSymlink, link: "../" + at})
			continue
		}
		first[diffID] = dir + "/layer.tar"
		r := value[io.ReadCloser](t)(layer.Uncompressed())
		files = append(files, file{name: dir + "/layer.tar", content: string(value[[]byte](t)(io.ReadAll(r)))})
	}
	raw := value[[]byte](t)(json.Marshal([]dockerEntry{entry}))
	return append(files, file{name: "manifest.json", content: string(raw)}, file{name: "repositories", content: "{}"})
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(p, content, 0o644))
	return p
}

// contents reads all files of img, by path, as the last layer has them.
func contents(t testing.TB, img v1.Image) (map[string]string, error) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, l := range layers {
		err := Walk(t.Context(), l, Limits{}, func(e Entry, r io.Reader) error {
			raw, err := io.ReadAll(r)
			if e.Kind == File {
				got[e.Path] = string(raw)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return got, nil
}

// wantError checks that err says all of parts and has this exit code.
func wantError(t testing.TB, err error, code int, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
	if got := exitCode(err); got != code {
		t.Errorf("error %q exits %d, want %d", err, got, code)
	}
}

func indexOf(t testing.TB, manifests ...v1.Descriptor) []byte {
	t.Helper()
	return value[[]byte](t)(json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests}))
}
