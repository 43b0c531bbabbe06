package docker

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/test/dockerd"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/moby/client"
)

// Docker 20.10, which is what Debian 12 has, knows the classic store only.
func TestAnEngineOfTheClassicStoreBuildsAnImageThatCanBeSaved(t *testing.T) {
	d := dockerd.Start(t)
	e := connect(t, d)
	if e.Store() != Classic || e.Version() == "" {
		t.Fatalf("the engine is version %q with the %s store; want one with the classic store", e.Version(), e.Store())
	}
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	made := e.NewImage()
	if err := made.Remove(t.Context()); err != nil {
		t.Errorf("Remove() of an image that was never made = %v", err)
	}
	if err := solve(t.Context(), c, contextOf(t, dockerfile), made.Export()); err != nil {
		t.Fatalf("build: %v", err)
	}
	archive, err := made.Save(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := save(t, archive)
	if got := fileIn(t, file, "said"); got != "hello\n" {
		t.Errorf("the RUN step wrote %q; want hello", got)
	}

	t.Run("nothing of ours stays", func(t *testing.T) {
		if err := made.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		images, err := d.API.ImageList(t.Context(), client.ImageListOptions{All: true})
		if err != nil || len(images.Items) != 0 {
			t.Errorf("the engine has %d images, %v; want none", len(images.Items), err)
		}
	})
	t.Run("an image that was there before stays", func(t *testing.T) {
		keep := bkclient.ExportEntry{Type: "moby", Attrs: map[string]string{"name": "keep"}}
		again := e.NewImage()
		files := contextOf(t, dockerfile)
		if err := errors.Join(solve(t.Context(), c, files, keep), solve(t.Context(), c, files, again.Export()), again.Remove(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, err := d.API.ImageInspect(t.Context(), "keep"); err != nil {
			t.Errorf("the image called keep: %v", err)
		}
		if _, err := d.API.ImageInspect(t.Context(), again.name); !errdefs.IsNotFound(err) {
			t.Errorf("the image with our name: %v; want that it is gone", err)
		}
	})
	// Should an engine of this store learn to, NewImage has no reason to be.
	t.Run("it writes no layout", func(t *testing.T) {
		err := solve(t.Context(), c, contextOf(t, dockerfile), bkclient.ExportEntry{
			Type: bkclient.ExporterOCI, Output: func(map[string]string) (io.WriteCloser, error) { return nil, errors.New("not wanted") },
		})
		if err == nil || !strings.Contains(err.Error(), `exporter "oci" could not be found`) {
			t.Errorf("the exporter oci: %v; want that there is none", err)
		}
	})
}

// save writes what is saved to a file.
func save(t *testing.T, archive io.ReadCloser) string {
	t.Helper()
	defer archive.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, archive)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

func TestWhatTheStoreCannotDoIsAUsageErrorThatNamesAnotherWay(t *testing.T) {
	for _, tc := range []struct {
		name  string
		store Store
		needs Needs
		want  []string // one a refused input
	}{
		{"a plain build", Classic, Needs{Platforms: []string{"linux/arm64"}, CacheFrom: []string{"registry"}, CacheTo: []string{"inline"}}, nil},
		{"two platforms", Classic, Needs{Platforms: []string{"linux/amd64", "linux/arm64"}}, []string{"platforms: a Docker Engine with its classic image store makes"}},
		{"a cache of another type", Classic, Needs{CacheFrom: []string{"gha"}, CacheTo: []string{"inline", "registry"}}, []string{
			"cache-from: a Docker Engine with its classic image store reads only caches of type=registry, local",
			"cache-to: a Docker Engine with its classic image store writes only caches of type=inline",
		}},
		{"attestations", Classic, Needs{Attest: []string{"provenance", "sbom"}}, []string{"provenance: ", "sbom: "}},
		{"all of it", Containerd, Needs{
			Platforms: []string{"linux/amd64", "linux/arm64"}, CacheFrom: []string{"gha"}, CacheTo: []string{"registry"}, Attest: []string{"sbom"},
		}, nil},
		{"a cache in S3", Containerd, Needs{CacheTo: []string{"s3"}}, []string{"cache-to: a Docker Engine writes only caches of type=inline, registry, local, gha"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := (&Engine{store: tc.store}).Check(tc.needs)
			if len(tc.want) == 0 {
				if err != nil {
					t.Errorf("Check() = %v; want nil", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("Check() = nil; want %q", tc.want)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) || fault.Code(err) != fault.ExitUsage || !strings.Contains(fault.Hint(err), "builder=embedded") {
				t.Errorf("Check() = %v (exit %d, hint %q); want %d lines, exit 2, and builder=embedded", err, fault.Code(err), fault.Hint(err), len(tc.want))
			}
			for i, line := range lines[:min(len(lines), len(tc.want))] {
				if !strings.HasPrefix(line, tc.want[i]) {
					t.Errorf("line %d is %q; want %q…", i+1, line, tc.want[i])
				}
			}
		})
	}
}
