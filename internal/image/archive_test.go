package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestDockerArchiveWithALayerTwice(t *testing.T) {
	same := []file{{name: "same", content: "same"}}
	img := makeImage(t, "amd64", same, []file{{name: "other", content: "other"}}, same)
	files := dockerFiles(t, nil, img)
	links := 0
	for _, f := range files {
		if f.kind == tar.TypeSymlink {
			links++
		}
	}
	if links != 1 {
		t.Fatalf("the archive has %d links; the test is worth nothing", links)
	}
	_, got, err := openAll(t, writeFile(t, "docker.tar", makeTar(t, files...)), Options{})
	must(t, err)
	if diff := cmp.Diff(map[string]string{"amd64:same": "same", "amd64:other": "other"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestDockerArchiveDigestIsStable(t *testing.T) {
	archive := writeFile(t, "docker.tar", makeTar(t, dockerFiles(t, nil, hello(t, "amd64"))...))
	a := value[*Opened](t)(Open(t.Context(), archive, Options{}))
	b := value[*Opened](t)(Open(t.Context(), "docker-archive:"+archive, Options{}))
	defer a.Close()
	defer b.Close()
	if !a.MadeUp || a.Descriptor.Digest != b.Descriptor.Digest {
		t.Errorf("descriptors %v and %v, made up: %v", a.Descriptor, b.Descriptor, a.MadeUp)
	}
}

func TestSeveralImagesInOneArchive(t *testing.T) {
	var entries []dockerEntry
	var files []file
	for _, arch := range []string{"amd64", "arm64"} {
		for _, f := range dockerFiles(t, []string{"acme/" + arch + ":v1"}, hello(t, arch)) {
			if f.name == "manifest.json" {
				var e []dockerEntry
				must(t, json.Unmarshal([]byte(strings.ReplaceAll(f.content, "layer", arch+"-layer")), &e))
				entries = append(entries, e...)
				entries[len(entries)-1].Layers = []string{arch + "-layera/layer.tar", arch + "-layerb/layer.tar"}
				continue
			}
			f.name = strings.Replace(f.name, "layer", arch+"-layer", 1)
			if f.name != "repositories" {
				files = append(files, f)
			}
		}
	}
	files = append(files, file{name: "manifest.json", content: string(value[[]byte](t)(json.Marshal(entries)))})
	archive := writeFile(t, "two.tar", makeTar(t, files...))

	_, _, err := openAll(t, archive, Options{})
	wantError(t, err, fault.ExitUsage, "several images", `"acme/amd64:v1", "acme/arm64:v1"`)
	_, _, err = openAll(t, archive, Options{Name: "acme/riscv64:v1"})
	wantError(t, err, fault.ExitUsage, `no image "acme/riscv64:v1"`, `"acme/amd64:v1", "acme/arm64:v1"`)
	for _, tc := range []struct {
		source string
		o      Options
	}{
		{archive, Options{Name: "docker.io/acme/arm64:v1"}},
		{"docker-archive:" + archive + ":acme/arm64:v1", Options{}},
	} {
		platforms, _, err := openAll(t, tc.source, tc.o)
		must(t, err)
		if diff := cmp.Diff([]string{"linux/arm64"}, platforms); diff != "" {
			t.Errorf("%s, named %q (-want +got):\n%s", tc.source, tc.o.Name, diff)
		}
	}
}

// change returns files with one of them changed.
func change(files []file, name string, to func(*file)) []file {
	files = append([]file(nil), files...)
	for i := range files {
		if files[i].name == name {
			to(&files[i])
		}
	}
	return files
}

func TestHostileArchives(t *testing.T) {
	img := hello(t, "amd64")
	docker := dockerFiles(t, nil, img)
	id := value[v1.Hash](t)(img.ConfigName()).Hex
	oci := ociFiles(t, helloIndex(t))
	layer := value[*v1.Manifest](t)(img.Manifest()).Layers[1].Digest
	flipped := func(f *file) {
		b := []byte(f.content)
		b[len(b)/2] ^= 1
		f.content = string(b)
	}
	linked := func(to string) func(*file) {
		return func(f *file) { f.kind, f.link, f.content = tar.TypeSymlink, to, "" }
	}
	for _, tc := range []struct {
		name  string
		files []file
		says  string
	}{
		{"docker: a config that is not the one its name says", change(docker, id+".json", func(f *file) { f.content += " " }), "another content"},
		{"docker: a layer with another content", change(docker, "layerb/layer.tar", flipped), "another content"},
		{"docker: a layer that is a file of nothing", change(docker, "layerb/layer.tar", func(f *file) { f.content = "" }), "another content"},
		{"docker: a layer that links out", change(docker, "layerb/layer.tar", linked("../../../etc/passwd")), "link out of the archive"},
		{"docker: a layer that links to an absolute path", change(docker, "layerb/layer.tar", linked("/etc/passwd")), "link out of the archive"},
		{"docker: a layer that links to itself", change(docker, "layerb/layer.tar", linked("layer.tar")), "link to a link"},
		{"docker: a layer that is a pipe", change(docker, "layerb/layer.tar", func(f *file) { f.kind, f.content = tar.TypeFifo, "" }), "not a regular file"},
		{"docker: a layer that is a link to the config", change(docker, "layerb/layer.tar", linked("../"+id+".json")), "another content"},
		{"docker: a layer outside", change(docker, "manifest.json", func(f *file) { f.content = strings.Replace(f.content, "layerb", "../..", 1) }), "outside of it"},
		{"docker: a layer that is not there", change(docker, "manifest.json", func(f *file) { f.content = strings.Replace(f.content, "layerb", "layerz", 1) }), "missing"},
		{"docker: a layer fewer than the config has", change(docker, "manifest.json", func(f *file) { f.content = strings.Replace(f.content, `,"layerb/layer.tar"`, "", 1) }), "names 1 layers, the config 2"},
		{"docker: no images", change(docker, "manifest.json", func(f *file) { f.content = "[]" }), "holds no image"},
		{"docker: two manifest.json", append(docker[:len(docker):len(docker)], file{name: "./manifest.json", content: "[]"}), "is there twice"},
		{"docker: a huge manifest.json", change(docker, "manifest.json", func(f *file) { f.content = strings.Repeat(" ", maxDocument+1) }), "at most"},
		{"a file outside", append(docker[:len(docker):len(docker)], file{name: "a/../../evil"}), "outside of it"},
		{"OCI: a layer with another content", change(oci, "blobs/sha256/"+layer.Hex, flipped), "another content"},
		{"OCI: a layer that is shorter", change(oci, "blobs/sha256/"+layer.Hex, func(f *file) { f.content = f.content[:len(f.content)-1] }), "was cut off"},
		{"OCI: an unknown version", change(oci, "oci-layout", func(f *file) { f.content = `{"imageLayoutVersion":"7.0.0"}` }), `version "7.0.0"`},
		{"OCI: no roots", change(oci, "index.json", func(f *file) { f.content = `{"manifests":[]}` }), "holds no image"},
		{"OCI: a root that is not there", change(oci, "index.json", func(f *file) {
			f.content = `{"manifests":[{"digest":"sha256:` + strings.Repeat("c", 64) + `","size":3}]}`
		}), "is missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := openAll(t, writeFile(t, "hostile.tar", makeTar(t, tc.files...)), Options{})
			wantError(t, err, fault.ExitFailed, tc.says)
		})
	}
}

// A cut archive is an error wherever the cut is, and never fewer files.
func TestTruncatedArchives(t *testing.T) {
	docker := makeTar(t, dockerFiles(t, nil, hello(t, "amd64"))...)
	oci := makeTar(t, ociFiles(t, helloIndex(t))...)
	for name, whole := range map[string][]byte{"docker": docker, "oci": oci, "oci gzip": gzipBytes(t, oci)} {
		_, want, err := openAll(t, writeFile(t, "whole", whole), Options{})
		must(t, err)
		for _, at := range []int{1, 100, 512, 513, len(whole) / 3, len(whole) / 2, len(whole) * 3 / 4, len(whole) - 2048, len(whole) - 3} {
			if at < 0 {
				continue
			}
			_, got, err := openAll(t, writeFile(t, "cut.tar", whole[:at]), Options{})
			if err == nil && cmp.Diff(want, got) != "" {
				t.Errorf("%s cut at %d of %d: no error, and other files", name, at, len(whole))
			}
			if err == nil {
				continue // only the end mark was cut
			}
			if text := err.Error(); !strings.Contains(text, "cut off") && !strings.Contains(text, "no tar archive") && !strings.Contains(text, "cannot be") {
				t.Errorf("%s cut at %d of %d: error %q does not say so", name, at, len(whole), text)
			}
		}
	}
}

func TestDecompressedArchivesAreBounded(t *testing.T) {
	temp := t.TempDir()
	bomb := writeFile(t, "bomb.tar.gz", gzipBytes(t, make([]byte, 1<<20)))
	_, _, err := openAll(t, bomb, Options{TempDir: temp, MaxBytes: 1 << 16})
	wantError(t, err, fault.ExitFailed, "larger than 65536 bytes when decompressed")
	if left := value[[]os.DirEntry](t)(os.ReadDir(temp)); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}

// FuzzOpenArchive: whatever the bytes, opening and reading ends, without a
// panic.
func FuzzOpenArchive(f *testing.F) {
	docker := makeTar(f, dockerFiles(f, []string{"a:b"}, makeImage(f, "amd64", []file{{name: "a", content: "b"}}))...)
	oci := makeTar(f, ociFiles(f, helloIndex(f))...)
	for _, b := range [][]byte{docker, oci, gzipBytes(f, docker), zstdBytes(f, docker), bytes.Repeat([]byte{0}, 1024)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		opened, err := Open(t.Context(), writeFile(t, "fuzz.tar", raw), Options{MaxBytes: 1 << 20, TempDir: t.TempDir()})
		if err != nil {
			return
		}
		defer opened.Close()
		images, err := opened.Images()
		if err != nil {
			return
		}
		for _, i := range images {
			layers, _ := i.Image.Layers()
			for _, l := range layers {
				Walk(t.Context(), l, Limits{Entries: 1000, Bytes: 1 << 20}, func(_ Entry, r io.Reader) error {
					_, err := io.Copy(io.Discard, r)
					return err
				})
			}
		}
	})
}
