package image

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
)

func exitCode(err error) int { return fault.Code(err) }

// stamps of the layout's files: inode and time of the last change.
func stamps(t *testing.T, dir string) map[string][2]int64 {
	t.Helper()
	got := map[string][2]int64{}
	for _, f := range filesBelow(t, dir) {
		info := value[os.FileInfo](t)(os.Stat(filepath.Join(dir, f.name)))
		got[f.name] = [2]int64{int64(info.Sys().(*syscall.Stat_t).Ino), info.ModTime().UnixNano()}
	}
	return got
}

func TestLayoutGivesBackWhatWasPut(t *testing.T) {
	img := hello(t, "amd64")
	l, desc := newLayout(t, img)

	opened := value[*Layout](t)(OpenLayout(l.Dir()))
	root := value[v1.Descriptor](t)(opened.Root())
	if diff := cmp.Diff(desc, root); diff != "" {
		t.Errorf("root (-put +got):\n%s", diff)
	}
	must(t, opened.Verify(t.Context(), root.Digest))
	view := value[v1.Image](t)(opened.Image(root.Digest))
	must(t, validate.Image(view))
	got, err := contents(t, view)
	must(t, err)
	if got["etc/hello"] != "hello amd64" {
		t.Errorf("etc/hello is %q", got["etc/hello"])
	}
}

func TestLayoutHoldsAnIndexWithAttestations(t *testing.T) {
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	desc := putIndex(t, l, helloIndex(t))
	must(t, l.SetRoot(desc))
	must(t, l.Verify(t.Context(), desc.Digest))
	idx := value[v1.ImageIndex](t)(l.Index(desc.Digest))
	for _, m := range value[*v1.IndexManifest](t)(idx.IndexManifest()).Manifests {
		img := value[v1.Image](t)(idx.Image(m.Digest))
		if m.Platform.OS != "unknown" {
			must(t, validate.Image(img))
		}
	}
}

func TestContentsAreAllThatTheRootNeedsOnceAndInOrder(t *testing.T) {
	l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
	desc := putIndex(t, l, helloIndex(t))
	all := value[[]v1.Descriptor](t)(l.Contents(desc))
	if all[0].Digest != desc.Digest {
		t.Errorf("the first is %s, want the root %s", all[0].Digest, desc.Digest)
	}
	place := map[string]int{}
	for i, d := range all {
		if _, twice := place[d.Digest.Hex]; twice || !l.Has(d) {
			t.Errorf("%s is there twice, or not as it lies in the layout", d.Digest)
		}
		place[d.Digest.Hex] = i
	}
	if files := filesBelow(t, l.blobDir()); len(files) != len(all) {
		t.Errorf("%d contents, want all %d blobs", len(all), len(files))
	}
	for _, d := range all {
		if !d.MediaType.IsImage() {
			continue
		}
		if config := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(d.Digest)).Manifest()).Config.Digest.Hex; place[config] <= place[d.Digest.Hex] {
			t.Errorf("config %s comes before its manifest", config)
		}
	}
	must(t, os.Remove(l.blobPath(all[len(all)-1].Digest)))
	_, err := l.Contents(desc)
	wantError(t, err, fault.ExitFailed, "is missing")
}

func TestUnchangedBlobsAreNotWrittenAgain(t *testing.T) {
	img := hello(t, "amd64")
	l, _ := newLayout(t, img)
	before := stamps(t, l.Dir())

	again := value[*Layout](t)(CreateLayout(l.Dir()))
	must(t, again.SetRoot(putImage(t, again, img)))
	must(t, again.Sweep())
	if diff := cmp.Diff(before, stamps(t, l.Dir())); diff != "" {
		t.Errorf("files were written again (inode and time, -before +after):\n%s", diff)
	}
	desc := putBytes(t, l, types.OCILayer, []byte("once"))
	if err := l.Put(desc, failingReader{}); err != nil {
		t.Errorf("a blob that is there was read again: %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("was read") }

func TestPutRefuses(t *testing.T) {
	good := []byte("content")
	h, n, _ := v1.SHA256(bytes.NewReader(good))
	for _, tc := range []struct {
		name string
		desc v1.Descriptor
		r    io.Reader
		says string
	}{
		{"another content", v1.Descriptor{Digest: h, Size: n}, strings.NewReader("CONTENT"), "another content: got sha256:"},
		{"a short content", v1.Descriptor{Digest: h, Size: n}, strings.NewReader("cont"), "4 of 7 bytes"},
		{"a long content", v1.Descriptor{Digest: h, Size: n}, strings.NewReader("content and more"), "longer than the 7 bytes"},
		{"a reader that fails", v1.Descriptor{Digest: h, Size: n}, failingReader{}, "was read"},
		{"a digest that is a path", v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: "../../index.json"}, Size: n}, bytes.NewReader(good), "64 hexadecimal digits"},
		{"another algorithm", v1.Descriptor{Digest: v1.Hash{Algorithm: "sha512", Hex: h.Hex}, Size: n}, bytes.NewReader(good), "only sha256"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
			before := stamps(t, l.Dir())
			wantError(t, l.Put(tc.desc, tc.r), fault.ExitFailed, tc.says)
			if diff := cmp.Diff(before, stamps(t, l.Dir())); diff != "" {
				t.Errorf("something was left behind (-before +after):\n%s", diff)
			}
		})
	}
}

func TestPutReplacesATornFile(t *testing.T) {
	l, desc := newLayout(t, hello(t, "amd64"))
	must(t, os.Truncate(l.blobPath(desc.Digest), 10))
	if l.Has(desc) {
		t.Fatal("the layout says it has a blob of the wrong size")
	}
	must(t, l.SetRoot(putImage(t, l, hello(t, "amd64"))))
	must(t, l.Verify(t.Context(), desc.Digest))
}

func TestSetRootNeedsAllOfTheImage(t *testing.T) {
	l, old := newLayout(t, hello(t, "amd64"))
	m := value[*v1.Manifest](t)(hello(t, "arm64").Manifest())
	desc := putManifest(t, l, hello(t, "arm64"))
	wantError(t, l.SetRoot(desc), fault.ExitFailed, "set root", m.Config.Digest.String(), "missing")
	if root := value[v1.Descriptor](t)(l.Root()); root.Digest != old.Digest {
		t.Errorf("root is %s after a refused SetRoot, want the old %s", root.Digest, old.Digest)
	}
}

func TestRootOf(t *testing.T) {
	t.Run("a new layout is ErrNoRoot", func(t *testing.T) {
		l := value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
		if _, err := l.Root(); !errors.Is(err, ErrNoRoot) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no layout is ErrNoLayout", func(t *testing.T) {
		for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
			if _, err := OpenLayout(dir); !errors.Is(err, ErrNoLayout) {
				t.Errorf("OpenLayout: got %v", err)
			}
		}
	})
	l, desc := newLayout(t, hello(t, "amd64"))
	for name, tc := range map[string]struct{ content, says string }{
		"a cut index.json":         {`{"schemaVersion":2,"manif`, "index.json cannot be read"},
		"two roots":                {`{"manifests":[{"digest":"` + desc.Digest.String() + `","size":1},{"digest":"` + desc.Digest.String() + `","size":1}]}`, "names 2 images"},
		"a root that is a path":    {`{"manifests":[{"digest":"sha256:../../../etc/passwd","size":1}]}`, "index.json cannot be read"},
		"an index.json of 5 MiB":   {strings.Repeat(" ", 5<<20), "larger than"},
		"a root with no digest":    {`{"manifests":[{"size":1}]}`, "index.json cannot be used"},
		"an index.json of nothing": {``, "index.json cannot be read"},
	} {
		t.Run(name+" is damage", func(t *testing.T) {
			must(t, os.WriteFile(filepath.Join(l.Dir(), indexFile), []byte(tc.content), 0o644))
			_, err := l.Root()
			wantError(t, err, fault.ExitFailed, "layout "+l.Dir(), tc.says)
			if !strings.Contains(fault.Hint(err), "build again") {
				t.Errorf("hint %q does not say what to do", fault.Hint(err))
			}
		})
	}
}

func TestSweepKeepsWhatIsNeeded(t *testing.T) {
	l, first := newLayout(t, hello(t, "amd64"))
	second := putImage(t, l, hello(t, "arm64"))
	must(t, l.SetRoot(second))
	orphan := putBytes(t, l, types.OCILayer, []byte("nobody needs this"))

	must(t, l.Sweep(first.Digest))
	if l.Has(orphan) {
		t.Error("a blob that nothing needs is still there")
	}
	for _, h := range []v1.Hash{first.Digest, second.Digest} {
		must(t, l.Verify(t.Context(), h))
	}
	must(t, l.Sweep())
	if l.Has(first) {
		t.Error("the old image is still there though nothing keeps it")
	}
	must(t, l.Verify(t.Context(), second.Digest))
}

func TestSweepRemovesWhatAKilledWriterLeft(t *testing.T) {
	l, _ := newLayout(t, hello(t, "amd64"))
	torn := []string{filepath.Join(l.Dir(), durable.TempPrefix+"123"), filepath.Join(l.blobDir(), durable.TempPrefix+"456")}
	for _, p := range torn {
		must(t, os.WriteFile(p, []byte("half a bl"), 0o600))
	}
	must(t, value[*Layout](t)(OpenLayout(l.Dir())).Sweep())
	for _, p := range torn {
		if _, err := os.Stat(p); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
}

func TestSweepLeavesAPutInProgressAlone(t *testing.T) {
	l, _ := newLayout(t, hello(t, "amd64"))
	content := []byte("slow")
	h, n, _ := v1.SHA256(bytes.NewReader(content))
	err := l.Put(v1.Descriptor{Digest: h, Size: n}, readerFunc(func(p []byte) (int, error) {
		must(t, l.Sweep())
		return copy(p, content), io.EOF
	}))
	if err != nil {
		t.Errorf("Put with a Sweep in the middle: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSweepRemovesNothingWhenItCannotReadAll(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, l *Layout, root v1.Descriptor) v1.Hash{
		"a manifest with another content": func(t *testing.T, l *Layout, root v1.Descriptor) v1.Hash {
			flip(t, l.blobPath(root.Digest))
			return root.Digest
		},
		"a layer that is missing": func(t *testing.T, l *Layout, root v1.Descriptor) v1.Hash {
			m := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(root.Digest)).Manifest())
			must(t, os.Remove(l.blobPath(m.Layers[0].Digest)))
			return root.Digest
		},
		"a digest to keep that is not there": func(*testing.T, *Layout, v1.Descriptor) v1.Hash {
			return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
		},
		"an index.json that is cut": func(t *testing.T, l *Layout, root v1.Descriptor) v1.Hash {
			must(t, os.Truncate(filepath.Join(l.Dir(), indexFile), 20))
			return root.Digest
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, root := newLayout(t, hello(t, "amd64"))
			orphan := putBytes(t, l, types.OCILayer, []byte("orphan"))
			keep := damage(t, l, root)
			wantError(t, l.Sweep(keep), fault.ExitFailed, "sweep: layout "+l.Dir())
			if !l.Has(orphan) {
				t.Error("something was removed")
			}
		})
	}
}

// flip changes one byte in the middle of a file and keeps its time.
func flip(t *testing.T, path string) {
	t.Helper()
	raw := value[[]byte](t)(os.ReadFile(path))
	raw[len(raw)/2] ^= 1
	must(t, os.WriteFile(path, raw, 0o644))
	must(t, os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)))
}

func TestDamagedBlobsAreNamed(t *testing.T) {
	img := hello(t, "amd64")
	m := value[*v1.Manifest](t)(img.Manifest())
	for name, h := range map[string]v1.Hash{
		"manifest": value[v1.Hash](t)(img.Digest()), "config": m.Config.Digest, "layer": m.Layers[1].Digest,
	} {
		t.Run(name, func(t *testing.T) {
			l, root := newLayout(t, img)
			flip(t, l.blobPath(h))
			wantError(t, l.Verify(t.Context(), root.Digest), fault.ExitFailed, "layout "+l.Dir(), h.String(), "another content: got sha256:")

			var err error
			if view, e := l.Image(root.Digest); e != nil {
				err = e
			} else {
				_, err = contents(t, view)
			}
			wantError(t, err, fault.ExitFailed, h.String(), "another content: got sha256:")
		})
	}
}

func TestLinksAndPipesAreRefused(t *testing.T) {
	img := hello(t, "amd64")
	m := value[*v1.Manifest](t)(img.Manifest())
	t.Run("a blob that is a link", func(t *testing.T) {
		l, root := newLayout(t, img)
		p := l.blobPath(m.Layers[0].Digest)
		moved := filepath.Join(t.TempDir(), "blob")
		must(t, os.Rename(p, moved))
		must(t, os.Symlink(moved, p))
		wantError(t, l.Verify(t.Context(), root.Digest), fault.ExitFailed, m.Layers[0].Digest.String(), "symbolic link")
	})
	t.Run("a blob that is a pipe", func(t *testing.T) {
		l, root := newLayout(t, img)
		p := l.blobPath(root.Digest)
		must(t, os.Remove(p))
		must(t, syscall.Mkfifo(p, 0o644))
		wantError(t, l.Verify(t.Context(), root.Digest), fault.ExitFailed, root.Digest.String(), "named pipe")
	})
	t.Run("index.json that is a pipe", func(t *testing.T) {
		l, _ := newLayout(t, img)
		p := filepath.Join(l.Dir(), indexFile)
		must(t, os.Remove(p))
		must(t, syscall.Mkfifo(p, 0o644))
		_, err := l.Root()
		wantError(t, err, fault.ExitFailed, "index.json", "named pipe")
	})
	for _, name := range []string{"blobs", "blobs/sha256", "."} {
		t.Run(name+" that is a link", func(t *testing.T) {
			l, _ := newLayout(t, img)
			p := filepath.Join(l.Dir(), name)
			moved := filepath.Join(t.TempDir(), "moved")
			must(t, os.Rename(p, moved))
			must(t, os.Symlink(moved, p))
			_, err := OpenLayout(l.Dir())
			wantError(t, err, fault.ExitFailed, "symbolic link")
			_, err = CreateLayout(l.Dir())
			wantError(t, err, fault.ExitFailed, "symbolic link")
		})
	}
}

func TestManifestsThatAreTwoThingsAreRefused(t *testing.T) {
	l, root := newLayout(t, hello(t, "amd64"))
	m := string(value[[]byte](t)(value[v1.Image](t)(l.Image(root.Digest)).RawManifest()))
	both := strings.Replace(m, "{", `{"manifests":[],`, 1)
	desc := putBytes(t, l, types.OCIManifestSchema1, []byte(both))
	_, err := l.Image(desc.Digest)
	wantError(t, err, fault.ExitFailed, desc.Digest.String(), "fields are not those of its media type")

	other := strings.Replace(m, string(types.OCIManifestSchema1), string(types.DockerManifestSchema2), 1)
	desc = putBytes(t, l, types.OCIManifestSchema1, []byte(other))
	wantError(t, l.SetRoot(desc), fault.ExitFailed, desc.Digest.String(), "calls itself")
}

func TestDeepAndSelfNamingIndexesAreErrors(t *testing.T) {
	l, desc := newLayout(t, hello(t, "amd64"))
	for range maxDepth + 2 {
		desc = putBytes(t, l, types.OCIImageIndex, indexOf(t, desc))
	}
	wantError(t, l.Verify(t.Context(), desc.Digest), fault.ExitFailed, "indexes deep")

	// A file named after a digest that names that digest: the only way to
	// name oneself is to be damaged.
	own := v1.Descriptor{MediaType: types.OCIImageIndex, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}}
	raw := indexOf(t, own)
	own.Size = int64(len(raw))
	must(t, os.WriteFile(l.blobPath(own.Digest), indexOf(t, own), 0o644))
	wantError(t, l.Verify(t.Context(), own.Digest), fault.ExitFailed, own.Digest.String(), "another content")
}
