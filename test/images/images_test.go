package images

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/imagewright/imagewright/test/registry"
)

// maker shares the project's cache: a Debian is made once, not once a test run.
func maker() *Maker {
	return &Maker{Cache: filepath.Join("..", "..", ".cache", "images"), Log: os.Stderr}
}

func TestBusyboxIsTheSameEveryTime(t *testing.T) {
	first, err := Busybox()
	if err != nil {
		t.Fatal(err)
	}
	second, err := Busybox()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := first.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		if err := validate.Layer(layer); err != nil {
			t.Errorf("not a valid layer: %v", err)
		}
	}
	if a, b := digest(t, first), digest(t, second); a != b {
		t.Errorf("made twice: %s, then %s", a, b)
	}
	if files := paths(t, first); !files["bin/sh"] || !files["bin/busybox"] {
		t.Error("no shell in the busybox image")
	}
}

func TestStandInsHoldWhatTheirNamesPromise(t *testing.T) {
	for _, tc := range []struct {
		base   string
		has    []string
		hasNot []string
	}{
		{"debian:bookworm-slim", []string{"usr/bin/apt-get", "var/lib/dpkg/status", "etc/debian_version"}, []string{"var/cache/apt/pkgcache.bin"}},
		{"golang:1.26-bookworm", []string{"usr/local/go/bin/go", "usr/bin/apt-get", "go/src"}, []string{"usr/local/go/test"}},
		{"gcr.io/distroless/static-debian12:nonroot", []string{"etc/os-release", "etc/ssl/certs/ca-certificates.crt", "var/lib/dpkg/status.d/base-files", "usr/share/zoneinfo/UTC"}, []string{"bin/sh", "usr/bin/bash"}},
	} {
		t.Run(tc.base, func(t *testing.T) {
			image, madeOf, err := maker().StandIn(t.Context(), tc.base)
			if err != nil {
				t.Fatal(err)
			}
			if image == nil || madeOf == "" {
				t.Fatalf("no stand-in for %s", tc.base)
			}
			files := paths(t, image)
			for _, file := range tc.has {
				if !files[file] {
					t.Errorf("%s is missing", file)
				}
			}
			for _, file := range tc.hasNot {
				if files[file] {
					t.Errorf("%s should not be there", file)
				}
			}
			for file := range files {
				if strings.HasPrefix(file, "var/lib/apt/lists/") {
					t.Errorf("package list %s was left in", file)
				}
			}
		})
	}
}

func TestUnknownBaseHasNoStandIn(t *testing.T) {
	for _, base := range []string{"alpine:3.19", "golang:1.26-alpine", "debian:trixie", "ghcr.io/acme/base"} {
		if image, _, err := maker().StandIn(t.Context(), base); image != nil || err != nil {
			t.Errorf("%s: got %v, %v; want neither image nor error", base, image, err)
		}
	}
}

func TestCachedLayerIsNotMadeAgain(t *testing.T) {
	m := &Maker{Cache: t.TempDir(), Log: io.Discard}
	made := 0
	write := func(archive *tar.Writer) error {
		made++
		return addText(archive, "greeting", 0o644, "hello")
	}
	first, err := m.layer("key", write)
	if err != nil {
		t.Fatal(err)
	}
	second, err := m.layer("key", write)
	if err != nil {
		t.Fatal(err)
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	a, _ := first.Digest()
	if b, _ := second.Digest(); a != b {
		t.Errorf("made as %s, read as %s", a, b)
	}
	// A folder that a full disk or a kill left behind is no cache.
	if err := os.Remove(filepath.Join(m.Cache, "key", "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.layer("key", write); err != nil || made != 2 {
		t.Errorf("damaged entry: %v, made %d times; want 2", err, made)
	}
}

func TestFailureLeavesNoCacheEntry(t *testing.T) {
	m := &Maker{Cache: t.TempDir(), Log: io.Discard}
	_, err := m.layer("key", func(*tar.Writer) error { return context.Canceled })
	if err == nil {
		t.Fatal("no error")
	}
	left, err := filepath.Glob(filepath.Join(m.Cache, "*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("left behind: %v", left)
	}
}

// The digest must not depend on the way an image travels.
func TestArchiveLayoutAndRegistryAgree(t *testing.T) {
	layer, err := TextLayer(map[string]string{"a/b": "text", "c": "more"})
	if err != nil {
		t.Fatal(err)
	}
	image, err := Compose(nil, []Step{{"COPY", layer}}, func(c *v1.Config) { c.User = "1000" })
	if err != nil {
		t.Fatal(err)
	}
	want := digest(t, image)

	dir := filepath.Join(t.TempDir(), "layout")
	if err := WriteLayout(dir, image); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err := index.IndexManifest(); err != nil || manifest.Manifests[0].Digest != want {
		t.Errorf("layout: %+v, %v; want %s", manifest, err, want)
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	if err := WriteArchive(archive, image); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(archive)
	if err != nil || !bytes.Contains(text, []byte(want.String())) {
		t.Errorf("archive does not name %s (%v)", want, err)
	}
	s := registry.ForTest(t, registry.Options{})
	tag, err := name.NewTag(s.Addr() + "/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	if got, err := remote.Head(tag); err != nil || got.Digest != want {
		t.Errorf("registry: %+v, %v; want %s", got, err, want)
	}
}

func digest(t *testing.T, image v1.Image) v1.Hash {
	t.Helper()
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// paths returns the files of the flattened image.
func paths(t *testing.T, image v1.Image) map[string]bool {
	t.Helper()
	flat := mutate.Extract(image)
	defer flat.Close()
	found := map[string]bool{}
	for archive := tar.NewReader(flat); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = true
	}
}
