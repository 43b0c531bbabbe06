package image

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestALayerIsRewrittenOnce(t *testing.T) {
	l, file := emptyLayout(t), filepath.Join(t.TempDir(), "state", "layers.json")
	root := putLayers(t, l, "amd64", packs()["gzip"], makeTar(t, file1("app", "app")))
	raw := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(root.Digest)).Manifest()).Layers[0]
	n := Normalization{Date: commitDate(), Memory: OpenMemory(file)}
	first := value[v1.Descriptor](t)(Normalize(t.Context(), l, root, n))
	must(t, n.Memory.Save())

	// The next build: the layout has been swept, and the builder is told not to
	// send what it had sent.
	must(t, l.SetRoot(first))
	must(t, l.Sweep(first.Digest))
	incoming := Incoming{l, OpenMemory(file)}
	if l.Has(raw) || !incoming.Has(raw) {
		t.Fatalf("the layout has the layer: %v, the builder is told so: %v; want false and true", l.Has(raw), incoming.Has(raw))
	}
	again := putLayersWithout(t, l, root)
	n.Memory = incoming.Memory
	if second := value[v1.Descriptor](t)(Normalize(t.Context(), l, again, n)); second.Digest != first.Digest {
		t.Errorf("the second build is %s and not %s", second.Digest, first.Digest)
	}

	must(t, os.Remove(l.blobPath(value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(first.Digest)).Manifest()).Layers[0].Digest)))
	if incoming.Has(raw) {
		t.Error("what the layer became is gone, and the builder is still told not to send it")
	}
}

func file1(name, content string) file { return file{name: name, content: content} }

// putLayersWithout puts the documents of an image whose layers the builder did
// not send again: those of putLayers(…, "app").
func putLayersWithout(t testing.TB, l *Layout, root v1.Descriptor) v1.Descriptor {
	t.Helper()
	other := emptyLayout(t)
	again := putLayers(t, other, "amd64", packs()["gzip"], makeTar(t, file1("app", "app")))
	m := value[*v1.Manifest](t)(value[v1.Image](t)(other.Image(again.Digest)).Manifest())
	for _, desc := range []v1.Descriptor{m.Config, again} {
		r := value[io.ReadCloser](t)(other.Blob(desc))
		must(t, l.Put(desc, r))
		r.Close()
	}
	return again
}

func TestAMemoryThatIsDamagedIsForgotten(t *testing.T) {
	for name, content := range map[string]string{
		"cut off":      `{"form":1,"layers":[{"blob":`,
		"another form": `{"form":999,"layers":[]}`,
		"no digest":    `{"form":1,"layers":[{"blob":"sha256:` + strings.Repeat("a", 64) + `","digest":"sha512:` + strings.Repeat("a", 128) + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := OpenMemory(writeFile(t, "layers.json", []byte(content)))
			if _, found := m.recall(v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, false); found {
				t.Error("it remembers a layer")
			}
			m.note(packed{}, true, packed{})
			must(t, m.Save())
		})
	}
}
