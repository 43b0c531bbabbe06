package image

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func newPlainLayers(t *testing.T) (*PlainLayers, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layers")
	p := value[*PlainLayers](t)(CreatePlainLayers(dir))
	t.Cleanup(func() { p.Close() })
	return p, filepath.Join(dir, "sha256")
}

func sumOf(text string) v1.Hash {
	sum := sha256.New()
	io.WriteString(sum, text)
	return hashOf(sum)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, e := range value[[]os.DirEntry](t)(os.ReadDir(dir)) {
		all = append(all, e.Name())
	}
	return all
}

// readPlain reads the layer in f as a scanner does: verified.
func readPlain(t *testing.T, f *os.File, diffID v1.Hash) (string, error) {
	t.Helper()
	size := value[os.FileInfo](t)(f.Stat()).Size()
	r, err := Unpack(f, v1.Descriptor{Digest: diffID, Size: size}, diffID)
	must(t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestAPlainLayerIsThereOnceItIsKept(t *testing.T) {
	p, dir := newPlainLayers(t)
	const owner = 1234
	must(t, os.Chown(dir, owner, owner))
	given := value[*os.File](t)(p.Directory())
	there := value[*PlainLayers](t)(ReceivePlainLayers(given))
	given.Close()
	diffID := sumOf("a tar")

	layer := value[*PlainLayer](t)(there.New())
	must(t, there.Close()) // the one that is being written stays
	if _, err := io.WriteString(layer, "a tar"); err != nil {
		t.Fatal(err)
	}
	if f, ok := p.Open(diffID); ok {
		f.Close()
		t.Error("it can be opened before it is kept")
	}
	must(t, layer.Keep(diffID))
	f, ok := p.Open(diffID)
	if !ok {
		t.Fatal("it cannot be opened after it was kept")
	}
	info := value[os.FileInfo](t)(f.Stat())
	if uid := info.Sys().(*syscall.Stat_t).Uid; info.Mode() != 0o644 || uid != owner {
		t.Errorf("mode %v, user %d; want 0644, and the owner of its directory", info.Mode(), uid)
	}
	if text, err := readPlain(t, f, diffID); text != "a tar" || err != nil {
		t.Errorf("it holds %q, %v", text, err)
	}
	discarded := value[*PlainLayer](t)(p.New())
	discarded.Discard()
	if diff := cmp.Diff([]string{diffID.Hex}, names(t, dir)); diff != "" {
		t.Errorf("the directory (-want +got):\n%s", diff)
	}
}

func TestAPlainLayerThatIsAnotherIsFoundOut(t *testing.T) {
	p, dir := newPlainLayers(t)
	diffID := sumOf("a tar")
	for _, text := range []string{"", "a t", "a tar and more", strings.Repeat("\x00", 5)} {
		must(t, os.WriteFile(filepath.Join(dir, diffID.Hex), []byte(text), 0o644))
		f, ok := p.Open(diffID)
		if !ok {
			t.Fatalf("%q cannot be opened", text)
		}
		if _, err := readPlain(t, f, diffID); !isDamaged(err) {
			t.Errorf("%q in place of the layer: error %v, want Damaged", text, err)
		}
	}
}

func isDamaged(err error) bool {
	_, ok := errors.AsType[*Damaged](err)
	return ok
}

func TestNothingButAFileIsAPlainLayer(t *testing.T) {
	p, dir := newPlainLayers(t)
	diffID := sumOf("a tar")
	path := filepath.Join(dir, diffID.Hex)
	must(t, os.WriteFile(filepath.Join(dir, "other"), []byte("a tar"), 0o644))
	for name, make := range map[string]func() error{
		"nothing":         func() error { return nil },
		"a link":          func() error { return os.Symlink("other", path) },
		"a link far away": func() error { return os.Symlink("/etc/passwd", path) },
		"a named pipe":    func() error { return syscall.Mkfifo(path, 0o644) },
		"a directory":     func() error { return os.Mkdir(path, 0o755) },
		"an endless file": func() error { return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, MaxPlainLayers+1)) },
	} {
		must(t, make())
		if f, ok := p.Open(diffID); ok {
			f.Close()
			t.Errorf("%s is opened", name)
		}
		must(t, os.RemoveAll(path))
	}
	must(t, os.WriteFile(path, []byte("a tar"), 0o644))
	for _, h := range []v1.Hash{{}, {Algorithm: "sha512", Hex: diffID.Hex}, {Algorithm: "sha256", Hex: "../sha256/" + diffID.Hex}, {Algorithm: "sha256", Hex: "other"}} {
		if f, ok := p.Open(h); ok {
			f.Close()
			t.Errorf("%q is opened", h)
		}
	}
	if _, ok := (*PlainLayers)(nil).Open(diffID); ok {
		t.Error("where there are none, one is opened")
	}
}

func TestAPlaceForPlainLayersThatLeadsElsewhereIsRefused(t *testing.T) {
	for _, link := range []string{"layers", "layers/sha256"} {
		outside, dir := t.TempDir(), t.TempDir()
		precious := filepath.Join(outside, strings.Repeat("a", 64))
		must(t, os.WriteFile(precious, nil, 0o644))
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755))
		must(t, os.Symlink(outside, filepath.Join(dir, link)))
		layers := filepath.Join(dir, "layers")
		if _, err := CreatePlainLayers(layers); err == nil {
			t.Errorf("%s is a link, and layers are written there", link)
		}
		if _, err := OpenPlainLayers(layers); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is a link: error %v, want one that says so", link, err)
		}
		if diff := cmp.Diff([]string{filepath.Base(precious)}, names(t, outside)); diff != "" {
			t.Errorf("%s is a link, and what it leads to has changed (-before +after):\n%s", link, diff)
		}
	}
	if _, err := OpenPlainLayers(filepath.Join(t.TempDir(), "layers")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there are none the error is %v, want fs.ErrNotExist", err)
	}
}

func TestSweepingPlainLayersKeepsAnImagesOwn(t *testing.T) {
	p, dir := newPlainLayers(t)
	sparse := func(name string, size int64) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, os.Truncate(path, size))
		return name
	}
	old, small, large := sumOf("old"), sumOf("small"), sumOf("large")
	want := []string{sparse(small.Hex, MaxPlainLayers/2), sparse("not-ours", MaxPlainLayers)}
	sparse(old.Hex, 1)
	sparse(large.Hex, MaxPlainLayers/2+1)
	sparse(".tmp-left", 1)
	link := sumOf("link")
	must(t, os.Symlink("not-ours", filepath.Join(dir, link.Hex)))

	must(t, p.Sweep(func(h v1.Hash) bool { return h != old }))
	slices.Sort(want)
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("after a sweep (-want +got):\n%s", diff)
	}
	sparse(".tmp-killed", 1)
	value[*PlainLayers](t)(CreatePlainLayers(filepath.Dir(dir))).Close()
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("for a new writer (-want +got):\n%s", diff)
	}
}

func TestAPackerAlsoGivesTheTarAway(t *testing.T) {
	var blob, plain bytes.Buffer
	packer := value[*Packer](t)(NewPacker(&blob, true, &plain))
	text := strings.Repeat("a tar ", 100_000)
	if _, err := io.WriteString(packer, text); err != nil {
		t.Fatal(err)
	}
	must(t, packer.Close())
	if plain.String() != text || packer.DiffID() != sumOf(text) {
		t.Errorf("%d bytes of a tar of %d came, its digest is %s", plain.Len(), len(text), packer.DiffID())
	}
}
