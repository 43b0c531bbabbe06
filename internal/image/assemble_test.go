package image

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platformImage puts an image for arch into l.
func platformImage(t testing.TB, l *Layout, arch string) v1.Descriptor {
	t.Helper()
	desc := putImage(t, l, hello(t, arch))
	desc.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return desc
}

func TestAssembledIndexDependsOnItsImagesAlone(t *testing.T) {
	l := emptyLayout(t)
	amd64, arm64 := platformImage(t, l, "amd64"), platformImage(t, l, "arm64")
	root := value[v1.Descriptor](t)(Assemble(l, []v1.Descriptor{arm64, amd64}, map[string]string{"b": "2", "a": "1"}))
	got := string(value[[]byte](t)(value[v1.ImageIndex](t)(l.Index(root.Digest)).RawManifest()))
	part := func(d v1.Descriptor) string {
		return `    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "` + d.Digest.String() + `",
      "size": ` + string(value[[]byte](t)(json.Marshal(d.Size))) + `,
      "platform": {
        "architecture": "` + d.Platform.Architecture + `",
        "os": "linux"
      }
    }`
	}
	want := `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
` + part(arm64) + ",\n" + part(amd64) + `
  ],
  "annotations": {
    "a": "1",
    "b": "2"
  }
}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	must(t, l.SetRoot(root))
	must(t, l.Sweep(root.Digest))
	must(t, l.Verify(t.Context(), root.Digest))
}

func TestOneImageAloneNeedsNoIndex(t *testing.T) {
	l := emptyLayout(t)
	amd64 := platformImage(t, l, "amd64")
	if root := value[v1.Descriptor](t)(Assemble(l, []v1.Descriptor{amd64}, nil)); root.Digest != amd64.Digest {
		t.Errorf("the root is %s, want the image itself, %s", root.Digest, amd64.Digest)
	}
	_, err := Assemble(l, []v1.Descriptor{amd64}, map[string]string{"a": "1"})
	wantError(t, err, 2, "annotations of an index", "linux/amd64 alone")
}

func TestWhatCannotBeAssembled(t *testing.T) {
	l := emptyLayout(t)
	amd64, arm64 := platformImage(t, l, "amd64"), platformImage(t, l, "arm64")
	other := putImage(t, l, makeImage(t, "arm64", []file{file1("other", "")}))
	other.Platform = &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	absent := amd64
	absent.Digest.Hex = strings.Repeat("a", 64)
	halved := putManifest(t, l, makeImage(t, "s390x", []file{file1("absent", "")}))
	for name, tc := range map[string]struct {
		images []v1.Descriptor
		code   int
		want   []string
	}{
		"nothing":                 {nil, 2, []string{"there is none"}},
		"one platform twice":      {[]v1.Descriptor{amd64, arm64, other}, 2, []string{"two images for linux/arm64", arm64.Digest.String(), other.Digest.String()}},
		"an image that is absent": {[]v1.Descriptor{amd64, absent}, 1, []string{absent.Digest.String(), "is missing"}},
		"an image without layers": {[]v1.Descriptor{amd64, halved}, 1, []string{"is missing"}},
		"an attestation":          {[]v1.Descriptor{amd64, putImage(t, l, attestation(t))}, 1, []string{"names no platform"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Assemble(l, tc.images, nil)
			wantError(t, err, tc.code, tc.want...)
		})
	}
}

func TestAttestationsDoNotChangeTheDigest(t *testing.T) {
	l := emptyLayout(t)
	with := putIndex(t, l, helloIndex(t))
	var plain []v1.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		plain = append(plain, platformImage(t, l, arch))
	}
	without := putBytes(t, l, types.OCIImageIndex, indexOf(t, plain...))
	var digests []v1.Hash
	for _, root := range []v1.Descriptor{with, without} {
		images, attestations, err := Split(l, root)
		must(t, err)
		if want := map[bool]int{true: 2}[root.Digest == with.Digest]; len(attestations) != want || len(images) != 2 {
			t.Errorf("%d images and %d attestations, want 2 and %d", len(images), len(attestations), want)
		}
		digests = append(digests, value[v1.Descriptor](t)(Assemble(l, images, nil)).Digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("%s with attestations, %s without", digests[0], digests[1])
	}

	alone := putBytes(t, l, types.OCIImageIndex, indexOf(t, plain[0], putUnknown(t, l)))
	images, _, err := Split(l, alone)
	must(t, err)
	if root := value[v1.Descriptor](t)(Assemble(l, images, nil)); root.Digest != plain[0].Digest {
		t.Errorf("one image with its attestation is %s, want the image %s", root.Digest, plain[0].Digest)
	}
}

func putUnknown(t testing.TB, l *Layout) v1.Descriptor {
	t.Helper()
	desc := putImage(t, l, attestation(t))
	desc.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	return desc
}

func TestImagesAreImportedFromAnywhere(t *testing.T) {
	dir := emptyLayout(t)
	must(t, dir.SetRoot(putIndex(t, dir, helloIndex(t))))
	for name, tc := range map[string]struct {
		source string
		want   []string
	}{
		"layout":         {dir.Dir(), []string{"linux/amd64", "linux/arm64"}},
		"OCI archive":    {writeFile(t, "oci.tar", makeTar(t, ociFiles(t, helloIndex(t))...)), []string{"linux/amd64", "linux/arm64"}},
		"docker archive": {writeFile(t, "docker.tar", makeTar(t, dockerFiles(t, nil, hello(t, "amd64"))...)), []string{"linux/amd64"}},
	} {
		t.Run(name, func(t *testing.T) {
			opened := value[*Opened](t)(Open(t.Context(), tc.source, Options{}))
			defer opened.Close()
			l := emptyLayout(t)
			images := value[[]v1.Descriptor](t)(Import(t.Context(), l, opened))
			var got []string
			for _, desc := range images {
				got = append(got, desc.Platform.String())
				must(t, l.Verify(t.Context(), desc.Digest))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("platforms %v, want %v", got, tc.want)
			}
			if _, err := l.Root(); err == nil {
				t.Error("the import has named a root")
			}
			root := value[v1.Descriptor](t)(Assemble(l, images, nil))
			must(t, l.SetRoot(root))
			must(t, l.Sweep())
		})
	}
}

// An image comes to the same bytes from docker save and from a BuildKit.
func TestDockersLayersBecomeThoseOfTheEmbeddedEngine(t *testing.T) {
	img := hello(t, "amd64")
	opened := value[*Opened](t)(Open(t.Context(), writeFile(t, "docker.tar", makeTar(t, dockerFiles(t, nil, img)...)), Options{}))
	defer opened.Close()
	l := emptyLayout(t)
	saved := value[[]v1.Descriptor](t)(Import(t.Context(), l, opened))[0]
	n := Normalization{Date: commitDate(), Pack: true}
	a := value[v1.Descriptor](t)(Normalize(t.Context(), l, saved, n))
	b := value[v1.Descriptor](t)(Normalize(t.Context(), l, putImage(t, l, img), n))
	if a.Digest != b.Digest {
		t.Errorf("%s from docker save, %s otherwise", a.Digest, b.Digest)
	}
}

func TestImportRefusesABlobWithAnotherContent(t *testing.T) {
	from, root := newLayout(t, hello(t, "amd64"))
	layer := value[*v1.Manifest](t)(value[v1.Image](t)(from.Image(root.Digest)).Manifest()).Layers[1]
	damage(t, from, layer)
	opened := value[*Opened](t)(Open(t.Context(), from.Dir(), Options{}))
	l := emptyLayout(t)
	_, err := Import(t.Context(), l, opened)
	wantError(t, err, 1, "layout "+from.Dir(), layer.Digest.String(), "has another content")
	if l.Has(layer) {
		t.Error("the layout has it all the same")
	}
	noTemporaryFiles(t, l)
}
