package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/steps/scan/kept"
	"github.com/imagewright/imagewright/test/images"
)

// answers returns how many answers about layers and images are kept.
func (c *checkout) answers(t *testing.T) (layers, ofImages int) {
	t.Helper()
	count := func(pattern string) int {
		found, err := filepath.Glob(filepath.Join(c.cache, "results", pattern, "*.answer"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	return count("layers-*"), count("images-*")
}

func TestWhatIsKnownOfAnImageIsNotReadAgain(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead+dpkgZlib))
	first := c.scan(t)
	first.wantCode(t, 3)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.workspace(), "image", "blobs", "sha256", blob.Hex)); err != nil {
		t.Fatal(err)
	}
	again := c.scan(t)
	again.wantCode(t, 3)
	if again.stdout != first.stdout {
		t.Errorf("the second scan says\n%s\nand the first said\n%s", again.stdout, first.stdout)
	}
	if layers, ofImages := c.answers(t); layers != 1 || ofImages != 1 {
		t.Errorf("%d answers about layers and %d about images are kept, want 1 and 1", layers, ofImages)
	}
}

// liar names in its manifest another blob than its configuration means.
type liar struct {
	v1.Layer
	diffID v1.Hash
}

func (l liar) DiffID() (v1.Hash, error) { return l.diffID, nil }

// An image that names a layer which is known, and brings another, must not pass
// for what is known.
func TestAKnownLayerDoesNotVouchForAnotherBlob(t *testing.T) {
	c := newCheckout(t)
	clean := c.build(t, debian(dpkgClean))
	c.scan(t).wantCode(t, 0)
	flawed, err := images.TextLayer(debian(dpkgHead + dpkgZlib))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := clean.Layers()
	if err != nil {
		t.Fatal(err)
	}
	diffID, err := layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	img, err := images.Compose(nil, []images.Step{{CreatedBy: "COPY test /", Layer: liar{flawed, diffID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.dir, "lies")
	if err := images.WriteLayout(dir, img); err != nil {
		t.Fatal(err)
	}
	r := c.scan(t, "--source=./lies")
	r.wantCode(t, 1)
	wantText(t, "stderr", r.stderr, diffID.Hex)
}

func TestTheCacheStaysBounded(t *testing.T) {
	c := newCheckout(t)
	old := filepath.Join(c.cache, "results", "layers-of-an-old-version")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	for i := range 3 { // sparse: what counts is their length
		path := filepath.Join(old, fmt.Sprintf("%d.json", i))
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, kept.MaxBytes/2); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, long, long.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	c.build(t, debian(dpkgClean))
	c.scan(t).wantCode(t, 0)
	left, err := os.ReadDir(old)
	if err != nil || len(left) != 1 || left[0].Name() != "2.json" {
		t.Errorf("of the old answers %v are left (%v), want the one that was used last", left, err)
	}
	if layers, ofImages := c.answers(t); layers != 1 || ofImages != 1 {
		t.Errorf("%d answers about layers and %d about images are kept, want one of each", layers, ofImages)
	}
}
