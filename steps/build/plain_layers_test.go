package build

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/imagewright/imagewright/internal/image"
)

// plainLayersOf returns which layers of the image in checkout dir, by their
// place, lie uncompressed in its workspace. It fails the test when one is another
// than its name says, or when there are others.
func plainLayersOf(t *testing.T, dir string) []int {
	t.Helper()
	config, err := built(t, dir).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, ".imagewright", "layers")
	layers, err := image.OpenPlainLayers(at)
	if err != nil {
		t.Fatal(err)
	}
	defer layers.Close()
	var there []int
	for i, diffID := range config.RootFS.DiffIDs {
		if f, ok := layers.Open(diffID); ok {
			there = append(there, i)
			checkDiffID(t, f, diffID)
		}
	}
	if files := tree(t, at, ""); len(files) != len(there) {
		t.Errorf("of the image are %d layers there; there is %v", len(there), files)
	}
	return there
}

func checkDiffID(t *testing.T, f *os.File, diffID v1.Hash) {
	t.Helper()
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != diffID.Hex {
		t.Errorf("the uncompressed layer %s has the digest %s", diffID.Hex, got)
	}
}

func TestNewLayersAreLeftUncompressedForScan(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM base\nCOPY a /a\nRUN cat /a /a > /twice\nCOPY b /b\n", "a": "1", "b": "1"})
	r := run{dir: dir, state: t.TempDir(), args: []string{useBase(t)}}
	r.mustBuild(t)
	if diff := cmp.Diff([]int{1, 2, 3}, plainLayersOf(t, dir)); diff != "" {
		t.Errorf("layers that are there after a cold build (-want +got):\n%s", diff)
	}
	before := tree(t, dir, ".imagewright/layers")
	r.mustBuild(t)
	if diff := cmp.Diff(before, tree(t, dir, ".imagewright/layers")); diff != "" {
		t.Errorf("a build that changed nothing wrote (-before +after):\n%s", diff)
	}

	if err := os.WriteFile(filepath.Join(dir, "b"), []byte("22"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.mustBuild(t)
	if diff := cmp.Diff([]int{1, 2, 3}, plainLayersOf(t, dir)); diff != "" {
		t.Errorf("layers that are there after a change (-want +got):\n%s", diff)
	}
	kept := 0
	for path, what := range tree(t, dir, ".imagewright/layers") {
		if before[path] == what {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d layers are as they were, want the two that did not change", kept)
	}

	// A layer that was made for another workspace is not made again for this one.
	if err := os.RemoveAll(filepath.Join(dir, ".imagewright")); err != nil {
		t.Fatal(err)
	}
	r.mustBuild(t)
	if there := plainLayersOf(t, dir); len(there) > 0 {
		t.Errorf("layers %v of a state that had them are there", there)
	}
}

func TestWhatStandsInTheWayOfPlainLayersIsNotInTheWayOfABuild(t *testing.T) {
	outside := t.TempDir()
	for name, obstruct := range map[string]func(t *testing.T, path string) error{
		"a file": func(_ *testing.T, path string) error { return os.WriteFile(path, nil, 0o644) },
		"a link": func(_ *testing.T, path string) error { return os.Symlink(outside, path) },
		"a read-only disk": func(t *testing.T, path string) error {
			if err := os.Mkdir(path, 0o755); err != nil {
				return err
			}
			t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
			return unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "1"})
			workspace := filepath.Join(dir, ".imagewright")
			if err := os.Mkdir(workspace, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := obstruct(t, filepath.Join(workspace, "layers")); err != nil {
				t.Fatal(err)
			}
			o := run{dir: dir, state: t.TempDir(), args: []string{"--log-level=debug"}}.mustBuild(t)
			built(t, dir)
			if !strings.Contains(o.stderr, "layers will not be left uncompressed") || strings.Contains(o.stderr, "warning: ") {
				t.Errorf("want a line of the debug log about it, and no warning:\n%s", o.stderr)
			}
		})
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("a link led to %v, %v", left, err)
	}
}
