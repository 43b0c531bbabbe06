package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	stock "github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// makeTrees makes two trees whose difference has all that a layer can have.
func makeTrees(t *testing.T) (lower, upper string) {
	t.Helper()
	lower, upper = t.TempDir(), t.TempDir()
	long := strings.Repeat("directory-of-a-long-name/", 6) // fits into a ustar header, in two parts
	longer := strings.Repeat(strings.Repeat("x", 110)+"/", 3)
	for path, content := range map[string]string{
		"gone": "", "dir/gone": "", long + "gone": "", longer + "gone": "", "opaque/a": "", "opaque/b": "", "kept": "",
	} {
		writeBelow(t, lower, path, content)
	}
	for path, content := range map[string]string{
		"kept": "", "app": strings.Repeat("app ", 1<<20), "opaque/c": "", "dir/new": "new",
		long + "new": "long", longer + "new": "longer", "grüße/ÄÖÜ": "unicode", "empty": "", "old": "1970", "setuid": "#!",
		"root.pem": "owned", "capable": "ping",
	} {
		writeBelow(t, upper, path, content)
	}
	for _, dir := range []string{"grüße", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(upper, dir), 0o755))
	}
	at := func(name string) string { return filepath.Join(upper, name) }
	must(t, os.Chmod(at("tmp"), 0o777|os.ModeSticky))
	must(t, os.Chmod(at("setuid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	must(t, os.Symlink("app", at("link")))
	must(t, os.Symlink("/"+longer+"new", at("long-link")))
	must(t, os.Link(at("app"), at("hardlink")))
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	must(t, syscall.Mknod(at("device"), syscall.S_IFCHR|0o666, 5<<8|1))
	must(t, os.Lchown(at("root.pem"), 3_000_000, 65534)) // more than a ustar header holds
	must(t, syscall.Setxattr(at("capable"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	for name, at1 := range map[string]time.Time{"old": time.Unix(86400, 500), "dir/new": time.Unix(1e9, 123456789), "kept": {}} {
		if at1.IsZero() {
			must(t, os.Chtimes(filepath.Join(lower, name), time.Unix(1e9, 0), time.Unix(1e9, 0)))
			at1 = time.Unix(1e9, 0)
		}
		must(t, os.Chtimes(at(name), at1, at1))
	}
	return lower, upper
}

func writeBelow(t *testing.T, dir, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644))
}

// A stock BuildKit makes layers with this function of containerd; the embedded
// engine gives it the latest time that files may have.
func TestStockLayersBecomeThoseOfTheEmbeddedEngine(t *testing.T) {
	lower, upper := makeTrees(t)
	var plain, embedded, blob bytes.Buffer
	must(t, stock.WriteDiff(t.Context(), &plain, lower, upper))
	latest := LayerTime()
	must(t, stock.WriteDiff(t.Context(), &embedded, lower, upper, stock.WithSourceDateEpoch(&latest)))
	if bytes.Equal(plain.Bytes(), embedded.Bytes()) {
		t.Fatal("both layers are the same from the start; the test is worth nothing")
	}
	packer := value[*Packer](t)(NewPacker(&blob, true))
	value[int](t)(packer.Write(embedded.Bytes()))
	must(t, packer.Close())
	want, _, err := v1.SHA256(&blob)
	must(t, err)

	for name, p := range packs() {
		l := emptyLayout(t)
		root := value[v1.Descriptor](t)(Normalize(t.Context(), l, putLayers(t, l, "amd64", p, plain.Bytes()), Normalization{Date: commitDate()}))
		img := value[v1.Image](t)(l.Image(root.Digest))
		layer := value[*v1.Manifest](t)(img.Manifest()).Layers[0]
		config := value[*v1.ConfigFile](t)(img.ConfigFile())
		if layer.Digest != want || config.RootFS.DiffIDs[0] != packer.DiffID() {
			t.Errorf("%s: the layer is %s of %s, want %s of %s\n%s", name, layer.Digest, config.RootFS.DiffIDs[0], want, packer.DiffID(),
				firstDifference(plainTar(t, l, layer), embedded.Bytes()))
		}
	}
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			block := i / 512 * 512
			return fmt.Sprintf("first at byte %d of entry\n got %q\nwant %q", i-block, got[block:min(block+512, len(got))], want[block:min(block+512, len(want))])
		}
	}
	return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
}
