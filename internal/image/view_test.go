package image

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/fault"
)

// craft puts an image into a new layout whose one layer is blob, and whose
// config says that its files are diffID.
func craft(t *testing.T, blob []byte, mt types.MediaType, diffID v1.Hash) (*Layout, v1.Descriptor) {
	t.Helper()
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	config := putBytes(t, l, types.OCIConfigJSON, []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["`+diffID.String()+`"]}}`))
	layer := putBytes(t, l, mt, blob)
	raw := `{"schemaVersion":2,"mediaType":"` + string(types.OCIManifestSchema1) + `","config":` + describe(config) + `,"layers":[` + describe(layer) + `]}`
	desc := putBytes(t, l, types.OCIManifestSchema1, []byte(raw))
	must(t, l.SetRoot(desc))
	return l, desc
}

func describe(d v1.Descriptor) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
}

func digestOf(t testing.TB, b []byte) v1.Hash {
	t.Helper()
	h, _, err := v1.SHA256(bytes.NewReader(b))
	must(t, err)
	return h
}

func TestLayersAreWhatTheConfigSays(t *testing.T) {
	raw := makeTar(t, file{name: "etc/hello", content: "hello"})
	other := digestOf(t, []byte("other"))
	for _, tc := range []struct {
		name   string
		blob   []byte
		mt     types.MediaType
		diffID v1.Hash
		says   []string // none: it opens
	}{
		{"gzip", gzipBytes(t, raw), types.OCILayer, digestOf(t, raw), nil},
		{"zstd", zstdBytes(t, raw), types.OCILayerZStd, digestOf(t, raw), nil},
		{"plain", raw, types.OCIUncompressedLayer, digestOf(t, raw), nil},
		{"zstd called gzip", zstdBytes(t, raw), types.OCILayer, digestOf(t, raw), nil},
		{"two gzip members", append(gzipBytes(t, raw[:700]), gzipBytes(t, raw[700:])...), types.OCILayer, digestOf(t, raw), nil},
		{"another tar", gzipBytes(t, raw), types.OCILayer, other, []string{"tar of layer", "another content"}},
		{"another plain tar", raw, types.OCIUncompressedLayer, other, []string{"tar of layer", "another content"}},
		{"gzip made short", gzipBytes(t, raw)[:60], types.OCILayer, digestOf(t, raw), []string{"cannot be decompressed"}},
		{"gzip with a tail", append(gzipBytes(t, raw), "tail"...), types.OCILayer, digestOf(t, raw), []string{"cannot be decompressed"}},
		{"zstd made short", zstdBytes(t, raw)[:20], types.OCILayerZStd, digestOf(t, raw), []string{"cannot be decompressed"}},
		{"nothing", nil, types.OCIUncompressedLayer, digestOf(t, nil), []string{"the layer is empty"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, desc := craft(t, tc.blob, tc.mt, tc.diffID)
			got, err := contents(t, value[v1.Image](t)(l.Image(desc.Digest)))
			if tc.says != nil {
				wantError(t, err, fault.ExitFailed, append(tc.says, "layer ", "sha256:")...)
				return
			}
			must(t, err)
			if got["etc/hello"] != "hello" {
				t.Errorf("files: %v", got)
			}
		})
	}
}

// However a stored layer is changed, the error says which blob it is, not what
// a decompressor made of it.
func TestAManifestWithMoreOrFewerLayersThanItsConfigIsRefused(t *testing.T) {
	raw := makeTar(t, file{name: "etc/hello", content: "hello"})
	l, _ := craft(t, raw, types.OCIUncompressedLayer, digestOf(t, raw))
	config := putBytes(t, l, types.OCIConfigJSON, []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["`+digestOf(t, raw).String()+`"]}}`))
	layer := describe(v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: digestOf(t, raw), Size: int64(len(raw))})
	for _, layers := range []string{"", layer + "," + layer} {
		desc := putBytes(t, l, types.OCIManifestSchema1, []byte(`{"schemaVersion":2,"config":`+describe(config)+`,"layers":[`+layers+`]}`))
		img := value[v1.Image](t)(l.Image(desc.Digest))
		_, err := img.Layers()
		wantError(t, err, fault.ExitFailed, "config", "names 1 layers, the manifest")
	}
}

func TestAChangedLayerIsNamedWhateverReadsItFirst(t *testing.T) {
	raw := makeTar(t, file{name: "app", content: strings.Repeat("hello", 1000)})
	for name, blob := range map[string][]byte{"gzip": gzipBytes(t, raw), "zstd": zstdBytes(t, raw), "plain": raw} {
		l, desc := craft(t, blob, types.OCILayer, digestOf(t, raw))
		h := digestOf(t, blob)
		for at := 0; at < len(blob); at += 1 + len(blob)/20 {
			changed := bytes.Clone(blob)
			changed[at] ^= 0x55
			must(t, os.WriteFile(l.blobPath(h), changed, 0o644))
			_, err := contents(t, value[v1.Image](t)(l.Image(desc.Digest)))
			if err == nil || !strings.Contains(err.Error(), "layer "+h.String()+" has another content: got ") {
				t.Errorf("%s, byte %d changed: error %v", name, at, err)
			}
		}
	}
}

func TestArtifactsAreNotTakenForImages(t *testing.T) {
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	img := putImage(t, l, hello(t, "amd64"))
	img.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
	config := putBytes(t, l, types.OCIEmptyJSON, []byte("{}"))
	raw := `{"schemaVersion":2,"mediaType":"` + string(types.OCIManifestSchema1) + `","config":` + describe(config) + `,"layers":[]}`
	artifact := putBytes(t, l, types.OCIManifestSchema1, []byte(raw))

	t.Run("beside an image it is left out", func(t *testing.T) {
		must(t, l.SetRoot(putBytes(t, l, types.OCIImageIndex, indexOf(t, artifact, img))))
		platforms, _, err := openAll(t, l.Dir(), Options{})
		must(t, err)
		if len(platforms) != 1 {
			t.Errorf("platforms %v, want one", platforms)
		}
	})
	t.Run("alone it is no image", func(t *testing.T) {
		must(t, l.SetRoot(artifact))
		_, _, err := openAll(t, l.Dir(), Options{})
		wantError(t, err, fault.ExitFailed, "holds no image")
	})
	t.Run("with a platform it is refused", func(t *testing.T) {
		artifact := artifact
		artifact.Platform = img.Platform
		must(t, l.SetRoot(putBytes(t, l, types.OCIImageIndex, indexOf(t, artifact, img))))
		_, _, err := openAll(t, l.Dir(), Options{})
		wantError(t, err, fault.ExitFailed, artifact.Digest.String(), "is for linux/amd64", "config is of type")
	})
}

func TestSweepKeepsTheSubjectOfWhatIsKept(t *testing.T) {
	l, _ := newLayout(t, hello(t, "amd64"))
	subject := putImage(t, l, hello(t, "arm64"))
	config := putBytes(t, l, types.OCIEmptyJSON, []byte("{}"))
	raw := `{"schemaVersion":2,"config":` + describe(config) + `,"layers":[],"subject":` + describe(subject) + `}`
	referrer := putBytes(t, l, types.OCIManifestSchema1, []byte(raw))
	must(t, l.Sweep(referrer.Digest))
	must(t, l.Verify(t.Context(), referrer.Digest))
	must(t, l.Verify(t.Context(), subject.Digest))
}

func TestForeignLayersMayLieElsewhere(t *testing.T) {
	raw := gzipBytes(t, makeTar(t, file{name: "a"}))
	l, desc := craft(t, raw, types.OCIRestrictedLayer, digestOf(t, raw))
	must(t, os.Remove(l.blobPath(digestOf(t, raw))))
	must(t, l.SetRoot(desc))
	must(t, l.Verify(t.Context(), desc.Digest))
	_, err := contents(t, value[v1.Image](t)(l.Image(desc.Digest)))
	wantError(t, err, fault.ExitFailed, "is missing")
}

func TestPlatformsAreSpelledOneWay(t *testing.T) {
	for _, tc := range []struct {
		want, have string
		ok         bool
	}{
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/aarch64", "linux/arm64", true},
		{"linux/x86_64", "linux/amd64", true},
		{"linux/amd64", "linux/amd64/v1", true},
		{"linux/arm", "linux/arm/v7", true},
		{"linux/arm", "linux/arm/v6", false},
		{"linux/armhf", "linux/arm/v7", true},
		{"linux/amd64", "windows/amd64", false},
	} {
		want, have := value[*v1.Platform](t)(v1.ParsePlatform(tc.want)), value[*v1.Platform](t)(v1.ParsePlatform(tc.have))
		s := &selection{want: want}
		if got := s.wants(*have); got != tc.ok {
			t.Errorf("an image for %s where %s is wanted: %v, want %v", tc.have, tc.want, got, tc.ok)
		}
	}
}

func TestBlobsCanBeReadTwiceAtOnce(t *testing.T) {
	l, desc := newLayout(t, hello(t, "amd64"))
	a, b := value[io.ReadCloser](t)(l.Blob(desc)), value[io.ReadCloser](t)(l.Blob(desc))
	defer a.Close()
	defer b.Close()
	one, two := value[[]byte](t)(io.ReadAll(a)), value[[]byte](t)(io.ReadAll(b))
	if !bytes.Equal(one, two) || int64(len(one)) != desc.Size {
		t.Errorf("read %d and %d bytes, want %d", len(one), len(two), desc.Size)
	}
}
