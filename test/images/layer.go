package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/pgzip"
)

// layerOf makes a layer in memory of what write puts into a tar.
func layerOf(write func(*tar.Writer) error) (v1.Layer, error) {
	var packed bytes.Buffer
	if err := compress(&packed, write); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// compress writes a gzipped tar; fast rather than small, it only ever travels
// over loopback.
func compress(w io.Writer, write func(*tar.Writer) error) error {
	compressed, err := pgzip.NewWriterLevel(w, pgzip.BestSpeed)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	return cmp.Or(write(archive), archive.Close(), compressed.Close())
}

// layer returns the layer that the cache has under key, or makes it. A layer is
// kept as an OCI layout of one image, so that its digests are known without
// reading it again.
func (m *Maker) layer(key string, write func(*tar.Writer) error) (layer v1.Layer, err error) {
	dir := filepath.Join(m.Cache, key)
	if layer, err := cached(dir); err == nil {
		return layer, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make base image %s: %w", key, err)
		}
	}()
	if err := os.MkdirAll(m.Cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if layer, err := cached(dir); err == nil {
		return layer, nil // another process made it while this one waited
	}
	temporary, err := os.MkdirTemp(m.Cache, ".making-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	if err := makeLayer(temporary, write); err != nil {
		return nil, err
	}
	// What is there under the name is damaged, or cached would have taken it.
	if err := errors.Join(os.RemoveAll(dir), os.Rename(filepath.Join(temporary, "layout"), dir)); err != nil {
		return nil, err
	}
	return cached(dir)
}

// makeLayer writes the layer to a file of dir and from there to dir/layout.
func makeLayer(dir string, write func(*tar.Writer) error) error {
	file, err := os.Create(filepath.Join(dir, "layer.tar.gz"))
	if err != nil {
		return err
	}
	if err := cmp.Or(compress(file, write), file.Close()); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(file.Name(), tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return err
	}
	image, err := Compose(nil, []Step{{CreatedBy: "cache", Layer: layer}}, nil)
	if err != nil {
		return err
	}
	return WriteLayout(filepath.Join(dir, "layout"), image)
}

func cached(dir string) (v1.Layer, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s holds %d images, not one", dir, len(manifest.Manifests))
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != 1 {
		return nil, fmt.Errorf("%s holds %d layers, not one", dir, len(layers))
	}
	return layers[0], nil
}

// lock waits for a lock between processes; test packages run in parallel, and a
// Debian is made once. A process that dies lets go of it.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

func sortedKeys(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
