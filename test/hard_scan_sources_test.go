package test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/record"
)

// Layouts and archives that lead elsewhere, go round in circles, or keep their
// reader waiting.
func TestASourceThatIsATrapIsRefused(t *testing.T) {
	blobs := func(dir string) string { return filepath.Join(dir, "blobs", "sha256") }
	pipe := func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)) }
	link := func(path, to string) error { return errors.Join(os.RemoveAll(path), os.Symlink(to, path)) }
	for _, tc := range []struct {
		name string
		trap func(t *testing.T, dir string) error // of a layout with one image
		code int
		says string
	}{
		{"a layer that is a pipe", func(t *testing.T, dir string) error { return pipe(blobIn(t, dir, "layer")) }, 1, "blob sha256:.* is not a regular file \\(a named pipe\\)"},
		{"a configuration that is a pipe", func(t *testing.T, dir string) error { return pipe(blobIn(t, dir, "config")) }, 1, "blob sha256:.* is not a regular file \\(a named pipe\\)"},
		{"a manifest that is a pipe", func(t *testing.T, dir string) error { return pipe(blobIn(t, dir, "manifest")) }, 1, "blob sha256:.* is not a regular file \\(a named pipe\\)"},
		{"an index that is a pipe", func(t *testing.T, dir string) error { return pipe(filepath.Join(dir, "index.json")) }, 1, "index.json is not a regular file \\(a named pipe\\)"},
		{"a version that is a pipe", func(t *testing.T, dir string) error { return pipe(filepath.Join(dir, "oci-layout")) }, 1, "oci-layout is not a regular file \\(a named pipe\\)"},
		{"a layer that is a link out of it", func(t *testing.T, dir string) error { return link(blobIn(t, dir, "layer"), "/etc/passwd") }, 1, "blob sha256:.* is not a regular file \\(a symbolic link\\)"},
		{"a layer that is a link to the device", func(t *testing.T, dir string) error { return link(blobIn(t, dir, "layer"), "/dev/zero") }, 1, "blob sha256:.* is not a regular file \\(a symbolic link\\)"},
		{"a configuration that is a link", func(t *testing.T, dir string) error { return link(blobIn(t, dir, "config"), "/etc/passwd") }, 1, "blob sha256:.* is not a regular file \\(a symbolic link\\)"},
		{"an index that is a link", func(t *testing.T, dir string) error { return link(filepath.Join(dir, "index.json"), "/etc/passwd") }, 1, "index.json is not a regular file \\(a symbolic link\\)"},
		{"blobs that are elsewhere", func(t *testing.T, dir string) error { return link(blobs(dir), "/etc") }, 1, "blobs/sha256 is a symbolic link"},
		{"a link that leads to itself", func(t *testing.T, dir string) error { return link(filepath.Join(dir, "blobs"), "blobs") }, 1, "blobs is a symbolic link"},
		{"an index of 5 MB", func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), bytes.Repeat([]byte(" "), 5<<20), 0o644)
		}, 1, "index.json is larger than the 4194304 bytes accepted"},
		{"an index that is said to name itself", func(t *testing.T, dir string) error {
			text := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":"sha256:%064d","size":10000}]}`, types.OCIImageIndex, types.OCIImageIndex, 7)
			writeRoot(t, dir, v1.Descriptor{MediaType: types.OCIImageIndex, Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064d", 7)}, Size: int64(len(text))})
			return os.WriteFile(filepath.Join(blobs(dir), fmt.Sprintf("%064d", 7)), text, 0o644)
		}, 1, "has another content"},
		{"indexes in indexes", func(t *testing.T, dir string) error {
			desc := rootOf(t, dir)
			for range 100 {
				desc = writeJSON(t, blobs(dir), types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{desc}})
			}
			writeRoot(t, dir, desc)
			return nil
		}, 1, "lies more than 4 indexes deep, or in itself"},
		{"10,000 platforms", func(t *testing.T, dir string) error {
			return manyPlatforms(t, dir, 10_000, 0)
		}, 1, "names more than 4096 manifests"},
		{"1,000 platforms with 4 MB of configuration", func(t *testing.T, dir string) error {
			return manyPlatforms(t, dir, 1000, 4_000_000)
		}, 1, "holds manifests and configurations of more than 67108864 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image")
			check(t, tc.trap(t, s.path("image")))
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, tc.code, tc.says)
		})
	}
}

// rootOf is what a layout's index.json names.
func rootOf(t *testing.T, dir string) v1.Descriptor {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	check(t, err)
	var index v1.IndexManifest
	check(t, json.Unmarshal(text, &index))
	return index.Manifests[0]
}

// blobIn is the file of a layout's manifest, configuration or first layer.
func blobIn(t *testing.T, dir, what string) string {
	t.Helper()
	desc := rootOf(t, dir)
	path := func() string { return filepath.Join(dir, "blobs", "sha256", desc.Digest.Hex) }
	if what == "manifest" {
		return path()
	}
	text, err := os.ReadFile(path())
	check(t, err)
	var m v1.Manifest
	check(t, json.Unmarshal(text, &m))
	desc = m.Config
	if what == "layer" {
		desc = m.Layers[0]
	}
	return path()
}

// manyPlatforms makes the image of a layout that of many platforms, whose
// configuration has so many bytes more.
func manyPlatforms(t *testing.T, dir string, count, more int) error {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	var m v1.Manifest
	text, err := os.ReadFile(blobIn(t, dir, "manifest"))
	check(t, err)
	check(t, json.Unmarshal(text, &m))
	text, err = os.ReadFile(blobIn(t, dir, "config"))
	check(t, err)
	text = append(bytes.Repeat([]byte(" "), more), text...)
	m.Config = writeBlob(t, blobs, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	m.Config.MediaType = types.OCIConfigJSON
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for i := range count {
		m.Annotations = map[string]string{"n": fmt.Sprint(i)}
		index.Manifests = append(index.Manifests, writeJSON(t, blobs, types.OCIManifestSchema1, m))
	}
	writeRoot(t, dir, writeJSON(t, blobs, types.OCIImageIndex, index))
	return nil
}

// Sources that are no files to read at random.
func TestASourceThatIsNoFileIsRefused(t *testing.T) {
	s := newHostileScan(t)
	check(t, syscall.Mkfifo(s.path("pipe.tar"), 0o644))
	check(t, os.Symlink("loop.tar", s.path("loop.tar")))
	check(t, os.Symlink("/dev/zero", s.path("zero.tar")))
	for source, says := range map[string]string{
		"pipe.tar": "is not a regular file", "zero.tar": "is not a regular file", "loop.tar": "too many levels of symbolic links|no such file",
	} {
		o := s.run(bounds{}, "--source="+source)
		if o.code != 1 && o.code != 2 {
			t.Errorf("%s: code %d", source, o.code)
		}
		o.want(t, o.code, says)
	}
}

// An archive that unpacks to more than the disk has, or than anything is, ends
// with an error and leaves nothing on the disk.
func TestAnArchiveThatUnpacksWithoutEndFillsNoDisk(t *testing.T) {
	s := newHostileScan(t)
	check(t, os.NewSyscallError("mount tmpfs", syscall.Mount("tmpfs", s.temp, "tmpfs", 0, "size=256m")))
	t.Cleanup(func() { check(t, os.NewSyscallError("unmount", syscall.Unmount(s.temp, 0))) })
	f, err := os.Create(s.path("bomb.tar.gz"))
	check(t, err)
	check(t, repeated(f, gzipOf(t, make([]byte, 64<<20)), 1000))
	check(t, f.Close())
	s.run(bounds{data: 1 << 30}, "--source=bomb.tar.gz").want(t, 1, "bomb.tar.gz: decompress: .*no space left on device; .*TMPDIR")
}

// What the builder left beside the image saves time and decides nothing.
func TestTheBuildersLayersCannotChangeAVerdict(t *testing.T) {
	s := newHostileScan(t)
	s.layout(".imagewright/image", minimist())
	digest := rootOf(t, s.path(".imagewright/image")).Digest.String()
	check(t, record.Write(s.path(".imagewright"), "build", &record.Build{Image: record.Image{Digest: digest, MediaType: string(types.OCIManifestSchema1)}}))
	dir := s.path(".imagewright/layers/sha256")
	check(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, diffIDOf(t, s.path(".imagewright/image")))
	var other bytes.Buffer
	w := tar.NewWriter(&other)
	check(t, errors.Join(addText(w, "usr/lib/node_modules/hello/package.json", `{"name": "hello", "version": "1.0.0"}`), w.Close()))
	for name, put := range map[string]func() error{
		"another layer":  func() error { return os.WriteFile(file, other.Bytes(), 0o644) },
		"noise":          func() error { return os.WriteFile(file, bytes.Repeat([]byte("noise"), 1<<20), 0o644) },
		"a gzip bomb":    func() error { return os.WriteFile(file, gzipOf(t, make([]byte, 256<<20)), 0o644) },
		"nothing":        func() error { return os.WriteFile(file, nil, 0o644) },
		"a pipe":         func() error { return syscall.Mkfifo(file, 0o644) },
		"a link out":     func() error { return os.Symlink("/etc/passwd", file) },
		"a device":       func() error { return os.Symlink("/dev/zero", file) },
		"a file of 10GB": func() error { return errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 10<<30)) },
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			check(t, errors.Join(os.RemoveAll(file), put()))
			s.run(bounds{data: 1 << 30, deadline: 20 * time.Second}, "--layer-cache=false").want(t, 3, "CVE-2021-44906")
		})
	}
	t.Run("a link in place of the folder", func(t *testing.T) {
		s.t = t
		check(t, errors.Join(os.RemoveAll(dir), os.Symlink("/etc", dir)))
		s.run(bounds{data: 1 << 30}, "--layer-cache=false").want(t, 3, "CVE-2021-44906")
	})
}

func diffIDOf(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(blobIn(t, dir, "config"))
	check(t, err)
	config, err := v1.ParseConfigFile(bytes.NewReader(text))
	check(t, err)
	return config.RootFS.DiffIDs[0].Hex
}

// Configurations that are larger than any, and manifests that say another thing.
func TestAConfigurationOfAnySizeIsReadOrRefused(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*v1.ConfigFile)
		code   int
		says   string
	}{
		{"100,000 entries of history", func(c *v1.ConfigFile) {
			c.History = append(c.History, make([]v1.History, 100_000)...)
		}, 0, "1 package"},
		{"100,000 of more bytes", func(c *v1.ConfigFile) {
			for range 100_000 {
				c.History = append(c.History, v1.History{CreatedBy: "ENV x", EmptyLayer: true})
			}
		}, 1, "config sha256:.* at most 4194304 are accepted"},
		{"50,000 layers of which there is one", func(c *v1.ConfigFile) {
			c.RootFS.DiffIDs = slices.Repeat(c.RootFS.DiffIDs, 50_000)
		}, 1, "names 50000 layers, the manifest 1"},
		{"100,000 layers", func(c *v1.ConfigFile) {
			c.RootFS.DiffIDs = slices.Repeat(c.RootFS.DiffIDs, 100_000)
		}, 1, "config sha256:.* at most 4194304 are accepted"},
		{"10 MB of labels", func(c *v1.ConfigFile) {
			c.Config.Labels = map[string]string{"l": strings.Repeat("a", 10<<20)}
		}, 1, "config sha256:.* at most 4194304 are accepted"},
		{"3 MB of labels", func(c *v1.ConfigFile) {
			c.Config.Labels = map[string]string{strings.Repeat("b", 1<<20): strings.Repeat("key=\n", 400<<10)}
		}, 0, "1 package"},
		{"no layers", func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }, 1, "names 0 layers, the manifest 1"},
		{"a digest of another kind", func(c *v1.ConfigFile) {
			c.RootFS.DiffIDs[0] = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("a", 128)}
		}, 1, "only sha256 is supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newHostileScan(t)
			s.configured("image", tc.change)
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, tc.code, tc.says)
		})
	}
	t.Run("20,000 layers, all the same", func(t *testing.T) {
		s := newHostileScan(t)
		s.layout("image")
		check(t, manyLayers(t, s.path("image"), 20_000))
		s.run(bounds{data: 1 << 30}, "--source=image").want(t, 1, "20000 layers; at most 1000 are read")
	})
}

// manyLayers makes the image of a layout have its layer many times.
func manyLayers(t *testing.T, dir string, count int) error {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	var m v1.Manifest
	var c v1.ConfigFile
	for path, v := range map[string]any{blobIn(t, dir, "manifest"): &m, blobIn(t, dir, "config"): &c} {
		text, err := os.ReadFile(path)
		check(t, err)
		check(t, json.Unmarshal(text, v))
	}
	for len(m.Layers) < count {
		m.Layers = append(m.Layers, m.Layers[0])
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, c.RootFS.DiffIDs[0])
	}
	m.Config = writeJSON(t, blobs, types.OCIConfigJSON, c)
	writeRoot(t, dir, writeJSON(t, blobs, types.OCIManifestSchema1, m))
	return nil
}
