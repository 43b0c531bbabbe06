package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

// openAll opens source and reads every file of every image in it.
func openAll(t testing.TB, source string, o Options) ([]string, map[string]string, error) {
	t.Helper()
	opened, err := Open(t.Context(), source, o)
	if err != nil {
		return nil, nil, err
	}
	defer opened.Close()
	images, err := opened.Images()
	if err != nil {
		return nil, nil, err
	}
	var platforms []string
	all := map[string]string{}
	for _, i := range images {
		platforms = append(platforms, i.Platform.String())
		got, err := contents(t, i.Image)
		if err != nil {
			return nil, nil, err
		}
		for k, v := range got {
			all[i.Platform.Architecture+":"+k] = v
		}
	}
	return platforms, all, nil
}

// client is the least a registry client does.
type client struct{}

func (client) Reference(s string) (name.Reference, error) { return name.ParseReference(s) }

func (client) Descriptor(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	return remote.Get(ref, remote.WithContext(ctx))
}

func zstdBytes(t testing.TB, b []byte) []byte {
	t.Helper()
	w := value[*zstd.Encoder](t)(zstd.NewWriter(nil))
	return w.EncodeAll(b, nil)
}

func TestTheSameFilesFromEverySource(t *testing.T) {
	idx := helloIndex(t)
	img := hello(t, "amd64")
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	root := putIndex(t, l, idx)
	must(t, l.SetRoot(root))
	oci := makeTar(t, ociFiles(t, idx)...)
	docker := makeTar(t, dockerFiles(t, []string{"acme/hello:v1"}, img)...)

	ref := registrytest.Start(t).Host + "/acme/hello:v1"
	must(t, remote.WriteIndex(value[name.Reference](t)(name.ParseReference(ref)), idx))

	ggcr := filepath.Join(t.TempDir(), "ggcr.tar") // gzipped layers
	must(t, tarball.WriteToFile(ggcr, value[name.Tag](t)(name.NewTag("acme/hello:v1")), img))

	one, both := []string{"linux/amd64"}, []string{"linux/amd64", "linux/arm64"}
	for _, tc := range []struct {
		name, source string
		platforms    []string
		called       string
	}{
		{"layout", l.Dir(), both, l.Dir()},
		{"layout, said so", "oci:" + l.Dir(), both, l.Dir()},
		{"OCI archive", writeFile(t, "oci.tar", oci), both, ""},
		{"OCI archive, said so", "oci-archive:" + writeFile(t, "oci", oci), both, ""},
		{"OCI archive, gzip", writeFile(t, "oci.tgz", gzipBytes(t, oci)), both, ""},
		{"OCI archive, zstd", writeFile(t, "oci.tar.zst", zstdBytes(t, oci)), both, ""},
		{"docker archive", writeFile(t, "docker.tar", docker), one, "acme/hello:v1"},
		{"docker archive, said so", "docker-archive:" + writeFile(t, "docker", docker), one, "acme/hello:v1"},
		{"docker archive, gzip", writeFile(t, "docker.tar.gz", gzipBytes(t, docker)), one, "acme/hello:v1"},
		{"docker archive of crane", ggcr, one, "acme/hello:v1"},
		{"registry", ref, both, ref},
		{"registry, said so", "registry:" + ref, both, ref},
	} {
		t.Run(tc.name, func(t *testing.T) {
			temp := t.TempDir()
			o := Options{Registry: client{}, TempDir: temp}
			platforms, got, err := openAll(t, tc.source, o)
			must(t, err)
			if diff := cmp.Diff(tc.platforms, platforms); diff != "" {
				t.Errorf("platforms (-want +got):\n%s", diff)
			}
			for _, p := range tc.platforms {
				arch := strings.TrimPrefix(p, "linux/")
				if got[arch+":etc/hello"] != "hello "+arch {
					t.Errorf("%s: etc/hello is %q", p, got[arch+":etc/hello"])
				}
			}
			if left := value[[]os.DirEntry](t)(os.ReadDir(temp)); len(left) > 0 {
				t.Errorf("left in the temporary directory: %v", left)
			}
			opened := value[*Opened](t)(Open(t.Context(), tc.source, o))
			defer opened.Close()
			if tc.called != "" && opened.Name != tc.called {
				t.Errorf("it is called %q, want %q", opened.Name, tc.called)
			}
			if tc.platforms[len(tc.platforms)-1] == "linux/arm64" && opened.Descriptor.Digest != root.Digest {
				t.Errorf("digest is %s, want %s", opened.Descriptor.Digest, root.Digest)
			}
		})
	}
}

func TestPlatforms(t *testing.T) {
	archive := writeFile(t, "oci.tar", makeTar(t, ociFiles(t, helloIndex(t))...))
	t.Run("one of an index", func(t *testing.T) {
		platforms, _, err := openAll(t, archive, Options{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}})
		must(t, err)
		if diff := cmp.Diff([]string{"linux/arm64"}, platforms); diff != "" {
			t.Errorf("platforms (-want +got):\n%s", diff)
		}
	})
	t.Run("none of an index", func(t *testing.T) {
		_, _, err := openAll(t, archive, Options{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}})
		wantError(t, err, fault.ExitUsage, "no image for linux/s390x", "it has linux/amd64, linux/arm64")
	})
	t.Run("not the only one", func(t *testing.T) {
		l, _ := newLayout(t, hello(t, "amd64"))
		_, _, err := openAll(t, l.Dir(), Options{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}})
		wantError(t, err, fault.ExitUsage, "no image for linux/arm64", "it has linux/amd64")
	})
	t.Run("one image where an index has two", func(t *testing.T) {
		opened := value[*Opened](t)(Open(t.Context(), archive, Options{}))
		defer opened.Close()
		_, err := opened.Image()
		wantError(t, err, fault.ExitUsage, "linux/amd64, linux/arm64")
	})
	t.Run("an attestation annotation does not hide an image", func(t *testing.T) {
		l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
		desc := putImage(t, l, hello(t, "amd64"))
		desc.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
		desc.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
		must(t, l.SetRoot(putBytes(t, l, "application/vnd.oci.image.index.v1+json", indexOf(t, desc))))
		platforms, _, err := openAll(t, l.Dir(), Options{})
		must(t, err)
		if len(platforms) != 1 {
			t.Errorf("platforms: %v, want the one image", platforms)
		}
	})
}

func TestAnArchiveMayLeaveOutPlatforms(t *testing.T) {
	idx := helloIndex(t)
	arm := value[*v1.IndexManifest](t)(idx.IndexManifest()).Manifests[2].Digest
	var files []file
	for _, f := range ociFiles(t, idx) {
		if !strings.HasSuffix(f.name, arm.Hex) {
			files = append(files, f)
		}
	}
	platforms, _, err := openAll(t, writeFile(t, "oci.tar", makeTar(t, files...)), Options{})
	must(t, err)
	if diff := cmp.Diff([]string{"linux/amd64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

func TestBadSources(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no tar ", 200)), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "empty.tar"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "plain.tar"), makeTar(t, file{name: "readme", content: "x"}), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "a.tar.xz"), []byte("\xfd7zXZ\x00more"), 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	for _, tc := range []struct {
		source string
		code   int
		says   string
	}{
		{"", fault.ExitUsage, "nothing was given"},
		{"missing.tar", fault.ExitUsage, "no such file"},
		{"./missing", fault.ExitUsage, "no such file"},
		{"oci:missing", fault.ExitUsage, "no such file"},
		{"docker-archive:plain.tar:", fault.ExitUsage, "not clear"},
		{"No Reference!", fault.ExitUsage, "no reference"},
		{"docker:hello", fault.ExitUsage, "Docker engine"},
		{"acme/hello", fault.ExitUsage, "references are not read here"},
		{"folder", fault.ExitUsage, "no OCI layout"},
		{"text", fault.ExitUsage, "no tar archive"},
		{"plain.tar", fault.ExitUsage, "is no image"},
		{"empty.tar", fault.ExitFailed, "is empty"},
		{"a.tar.xz", fault.ExitFailed, "xz or bzip2"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			_, _, err := openAll(t, tc.source, Options{Dir: dir})
			wantError(t, err, tc.code, tc.says)
			if tc.code == fault.ExitUsage && fault.Hint(err) == "" {
				t.Errorf("error %q has no hint", err)
			}
		})
	}
}

func TestAReferenceTheRegistryLacksIsAnError(t *testing.T) {
	ref := registrytest.Start(t).Host + "/acme/missing:v1"
	_, _, err := openAll(t, ref, Options{Registry: client{}})
	wantError(t, err, fault.ExitFailed, "MANIFEST_UNKNOWN")
}

func TestCancelledOpenStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, writeFile(t, "oci.tar", makeTar(t, ociFiles(t, helloIndex(t))...)), Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a cancelled context: %v", err)
	}
}

func TestAReaderFollowsTheDigestItWasGivenNotTheRoot(t *testing.T) {
	dir := t.TempDir()
	l, err := CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	var digests []v1.Hash
	for _, arch := range []string{"amd64", "arm64"} { // the second is the root; the first is what a record names
		desc := putImage(t, l, hello(t, arch))
		must(t, l.SetRoot(desc))
		digests = append(digests, desc.Digest)
	}
	opened, err := Open(t.Context(), dir, Options{Name: digests[0].String()})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Descriptor.Digest != digests[0] {
		t.Errorf("opened %s, want %s", opened.Descriptor.Digest, digests[0])
	}
	if _, err := opened.Images(); err != nil {
		t.Errorf("its images: %v", err)
	}
}
