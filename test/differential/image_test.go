package differential

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/test/images"
)

// A fixture is an image that both programs scan.
type fixture struct {
	name    string
	quick   bool // among the few without -full
	archive bool // travels as docker save writes it, not as an OCI layout
	base    func(t *testing.T) v1.Image
	layers  func(t *testing.T) []*layer
	config  func(*v1.Config)
	args    []string // for both programs
	nothing bool     // Trivy finds nothing in it, and shall not

	mixed     bool // every second layer is compressed with zstd
	noHistory bool // the configuration says nothing of how the layers came to be
}

// epoch is the time of all files and images made here, so that each run makes
// the same bytes.
func epoch() time.Time { return time.Unix(1_700_000_000, 0).UTC() }

// A layer is one in the making: its tar's entries in order, and what history
// says of it. Without entries it is one that only history knows.
type layer struct {
	createdBy string
	tar       bytes.Buffer
	writer    *tar.Writer
}

// run begins a layer as an instruction of a Dockerfile leaves it.
func run(createdBy string) *layer { return &layer{createdBy: createdBy} }

func (l *layer) entry(h tar.Header, content []byte) *layer {
	if l.writer == nil {
		l.writer = tar.NewWriter(&l.tar)
	}
	h.Size, h.ModTime = int64(len(content)), epoch()
	if h.Typeflag != tar.TypeReg {
		h.Size = 0
	}
	// What goes wrong here sticks to the writer and comes out at its Close.
	if l.writer.WriteHeader(&h) == nil {
		_, _ = l.writer.Write(content)
	}
	return l
}

// text adds a file.
func (l *layer) text(name, content string) *layer {
	return l.entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(content))
}

// program adds a file that may be executed.
func (l *layer) program(name string, content []byte) *layer {
	return l.entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, content)
}

func (l *layer) symlink(name, target string) *layer {
	return l.entry(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (l *layer) hardlink(name, target string) *layer {
	return l.entry(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, nil)
}

func (l *layer) dir(name string) *layer {
	return l.entry(tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimSuffix(name, "/") + "/", Mode: 0o755}, nil)
}

// remove deletes what layers below have at name.
func (l *layer) remove(name string) *layer {
	return l.text(path.Join(path.Dir(name), ".wh."+path.Base(name)), "")
}

// opaque hides all that layers below have in a folder.
func (l *layer) opaque(dir string) *layer { return l.text(path.Join(dir, ".wh..wh..opq"), "") }

// file adds a file of this machine, with its mode.
func (l *layer) file(t *testing.T, name, from string) *layer {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	return l.entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()) | 0o600}, content)
}

// tree adds all files below a folder of this machine.
func (l *layer) tree(t *testing.T, prefix, root string) *layer {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err == nil {
			l.file(t, path.Join(prefix, filepath.ToSlash(name)), file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mediaType of layers. In an archive of docker save they are plain tars.
func (f fixture) mediaType() types.MediaType {
	if f.archive {
		return types.DockerUncompressedLayer
	}
	return types.OCIUncompressedLayer
}

// image puts the layers on the base.
func (f fixture) image(t *testing.T) v1.Image {
	t.Helper()
	var image v1.Image
	if f.base != nil {
		image = f.base(t)
	}
	var layers []*layer
	if f.layers != nil {
		layers = f.layers(t)
	}
	image, err := images.Compose(image, nil, f.config)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		media := f.mediaType()
		if f.mixed && i%2 == 1 {
			media = types.OCILayerZStd
		}
		image, err = mutate.Append(image, l.addendum(t, media))
		if err != nil {
			t.Fatal(err)
		}
	}
	if f.noHistory {
		return withoutHistory(t, image)
	}
	return image
}

func withoutHistory(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.History = nil
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func (l *layer) addendum(t *testing.T, mediaType types.MediaType) mutate.Addendum {
	t.Helper()
	history := v1.History{CreatedBy: l.createdBy, Created: v1.Time{Time: epoch()}, EmptyLayer: l.writer == nil}
	if l.writer == nil {
		return mutate.Addendum{History: history}
	}
	if err := l.writer.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(&l.tar)
	if err != nil {
		t.Fatal(err)
	}
	made := static.NewLayer(content, mediaType)
	if mediaType == types.OCILayerZStd {
		made = packed(t, content)
	}
	return mutate.Addendum{Layer: made, MediaType: mediaType, History: history}
}

// packed is a layer compressed with zstd.
func packed(t *testing.T, content []byte) v1.Layer {
	t.Helper()
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayerZStd), tarball.WithCompression(compression.ZStd))
	if err != nil {
		t.Fatal(err)
	}
	return made
}
