package buildkit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

// plainIn counts the layers of an image that lie uncompressed in dir, and fails
// the test when one is another than its name says.
func plainIn(t *testing.T, dir string, s solved) (there, all int) {
	t.Helper()
	img, err := s.layout.Image(s.root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.OpenPlainLayers(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer layers.Close()
	for _, diffID := range config.RootFS.DiffIDs {
		if f, ok := layers.Open(diffID); ok {
			there++
			checkPlain(t, f, diffID)
		}
	}
	return there, len(config.RootFS.DiffIDs)
}

func checkPlain(t *testing.T, f *os.File, diffID v1.Hash) {
	t.Helper()
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != diffID.Hex {
		t.Errorf("the file %s has the digest %s", diffID.Hex, got)
	}
}

func plainFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, "sha256", ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(files, hidden...)
}

func TestLayersAreLeftUncompressedForWhoeverBuiltThem(t *testing.T) {
	o := options(t, t.TempDir())
	o.PlainLayers = filepath.Join(t.TempDir(), "layers")
	first := start(t, o)
	defer stop(t, first)
	mine := o.PlainLayers
	o.PlainLayers = filepath.Join(t.TempDir(), "layers")
	second := start(t, o)
	defer stop(t, second)
	theirs := o.PlainLayers
	o.PlainLayers = ""
	third := start(t, o)
	defer stop(t, third)

	dir := buildContext(t, varied, map[string]string{"one.txt": "one\n", "two.txt": "two\n"})
	if there, all := plainIn(t, mine, mustSolve(t, first, dir, nil)); there != all || all < 5 {
		t.Errorf("%d of the image's %d layers are there uncompressed", there, all)
	}
	if files := plainFiles(t, theirs); len(files) > 0 {
		t.Errorf("a program that built nothing got %q", files)
	}
	before := len(plainFiles(t, mine))
	if err := os.WriteFile(filepath.Join(dir, "two.txt"), []byte("three\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if there, _ := plainIn(t, theirs, mustSolve(t, second, dir, nil)); there != 2 {
		t.Errorf("%d layers are there uncompressed after two were made anew", there)
	}
	if err := os.WriteFile(filepath.Join(dir, "two.txt"), []byte("four\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustSolve(t, third, dir, nil)
	if files := plainFiles(t, mine); len(files) != before {
		t.Errorf("builds of other programs left %d files where %d were", len(files), before)
	}
}

func TestABuildIsAsGoodWithoutRoomForPlainLayers(t *testing.T) {
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	full := filepath.Join(t.TempDir(), "layers")
	if err := os.Mkdir(full, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(full, unix.MNT_DETACH) })
	link := filepath.Join(t.TempDir(), "layers")
	if err := os.Symlink("/proc", link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, dir, want string }{
		{"a full disk", full, "there would be too much of them"},
		{"a link", link, "is no directory"},
		{"no place at all", "/proc/none/layers", "layers will not be left uncompressed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			o := options(t, t.TempDir())
			o.PlainLayers = tc.dir
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			e := start(t, o)
			dir := buildContext(t, "FROM scratch\nCOPY noise /noise\nCOPY small /small\n", map[string]string{"noise": string(noise), "small": "1"})
			s := mustSolve(t, e, dir, nil)
			stop(t, e) // the log is written to its end
			if !strings.Contains(log.String(), tc.want) {
				t.Errorf("the log does not say %q:\n%s", tc.want, log.String())
			}
			if tc.dir != full {
				return
			}
			if there, _ := plainIn(t, full, s); there != 1 || len(plainFiles(t, full)) != 1 {
				t.Errorf("%d layers are there, in %q; want the small one, and nothing left of the large one", there, plainFiles(t, full))
			}
		})
	}
}

func TestALayerWhoseBlobIsNotCompressedIsThereOnce(t *testing.T) {
	o := options(t, t.TempDir())
	o.PlainLayers = filepath.Join(t.TempDir(), "layers")
	e := start(t, o)
	defer stop(t, e)
	s := mustSolve(t, e, buildContext(t, "FROM scratch\nCOPY busybox /busybox\n", nil), func(o *client.SolveOpt) {
		o.Exports[0].Attrs["compression"] = "uncompressed"
	})
	if there, all := plainIn(t, o.PlainLayers, s); there != 0 || all != 1 {
		t.Errorf("%d of %d layers are written again", there, all)
	}
}
