package buildkit

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

// varied has every kind of change: new files, directories that only get a
// child, a hard link, a symbolic link, a deletion, a replaced directory, a
// changed mode, --link and a WORKDIR.
const varied = `FROM scratch
COPY busybox /bin/busybox
WORKDIR /work
COPY --link one.txt /linked/one.txt
RUN ["/bin/busybox", "sh", "-c", "\
  /bin/busybox mkdir -p /data/sub /old && /bin/busybox echo a >/data/a && /bin/busybox echo b >/old/b && \
  /bin/busybox ln /data/a /data/hard && /bin/busybox ln -s a /data/soft && /bin/busybox date >/dev/null"]
COPY two.txt /data/two.txt
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox rm /data/a && /bin/busybox rm -r /old && /bin/busybox mkdir /old && /bin/busybox touch /old/c && /bin/busybox chmod 700 /data/sub"]
`

func TestTheSameContentHasTheSameDigestFromAnyState(t *testing.T) {
	files := map[string]string{"one.txt": "one\n", "two.txt": "two\n"}
	dir := buildContext(t, varied, files)
	// In the future, so that a date that is only clamped would show.
	epoch := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)

	warm := start(t, options(t, t.TempDir()))
	first, ran := mustBuild(t, warm, dir, newLayout(t), epoch)
	if len(ran) == 0 {
		t.Error("a cold build ran no step")
	}
	if again, ran := mustBuild(t, warm, dir, newLayout(t), epoch); again != first || len(ran) > 1 {
		t.Errorf("warm build: digest %s, ran %q; want %s and nothing but the export", again, ran, first)
	}

	// Another commit: one file differs, and the date. What came before stays
	// cached, WORKDIR included.
	if err := os.WriteFile(filepath.Join(dir, "two.txt"), []byte("three\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	later := strconv.FormatInt(time.Now().Add(2*time.Hour).Unix(), 10)
	changed, ran := mustBuild(t, warm, dir, newLayout(t), later)
	if slices.ContainsFunc(ran, func(s string) bool { return strings.Contains(s, "WORKDIR") || strings.Contains(s, "mkdir -p") }) {
		t.Errorf("steps before the change ran again: %q", ran)
	}
	stop(t, warm)

	cold := start(t, options(t, t.TempDir()))
	defer stop(t, cold)
	if got, _ := mustBuild(t, cold, dir, newLayout(t), later); got != changed {
		t.Errorf("digest from a cold state %s, from a warm one %s", got, changed)
	}

	o := options(t, t.TempDir())
	o.snapshotter = "native"      // walks two trees, where an overlay has the changes in one
	umask := syscall.Umask(0o077) // must not reach the image
	copies := start(t, o)
	syscall.Umask(umask)
	defer stop(t, copies)
	same := buildContext(t, varied, files) // other times on the files
	if got, _ := mustBuild(t, copies, same, newLayout(t), epoch); got != first {
		t.Errorf("digest of the first commit without overlays %s, want %s", got, first)
	}
}

func TestAStepIgnoresNoSignals(t *testing.T) {
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	// Bit 12 is SIGPIPE, bit 14 SIGTERM.
	dir := buildContext(t, `FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "exit $(( 0x$(/busybox awk '/SigIgn/{print $2}' /proc/self/status) & 0x5000 ))"]
`, nil)
	mustBuild(t, e, dir, newLayout(t), "1700000000")
}

func TestLayersCarryNoTimesAndTheConfigTheBuilds(t *testing.T) {
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	l := newLayout(t)
	dir := buildContext(t, varied, map[string]string{"one.txt": "1", "two.txt": "2"})
	mustBuild(t, e, dir, l, "1700000000")
	root, err := l.Root()
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	readJSON(t, l, root, &m)
	var config v1.ConfigFile
	readJSON(t, l, m.Config, &config)
	date := time.Unix(1700000000, 0).UTC()
	if !config.Created.Equal(date) {
		t.Errorf("created %s, want %s", config.Created, date)
	}
	for _, h := range config.History {
		if !h.Created.Equal(date) {
			t.Errorf("history %q: created %s, want %s", h.CreatedBy, h.Created, date)
		}
	}
	var names []string
	for _, layer := range m.Layers {
		names = append(names, layerNames(t, l, layer)...)
	}
	for _, want := range []string{"data/.wh.a", "data/hard", "data/soft", "linked/one.txt", "work/"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %q in the layers: %q", want, names)
		}
	}
}

// layerNames lists a layer and checks the times in it.
func layerNames(t *testing.T, l *image.Layout, layer v1.Descriptor) []string {
	t.Helper()
	blob, err := l.Blob(layer)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	unzipped, err := gzip.NewReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.ModTime.After(image.LayerTime()) || !h.AccessTime.IsZero() && h.AccessTime.Unix() != 0 || h.Uname != "" {
			t.Errorf("%s: modified %s, read %s, owner %q; want 1980 or before, none, none", h.Name, h.ModTime, h.AccessTime, h.Uname)
		}
	}
}

func TestABlobThatIsThereIsNotWrittenAgain(t *testing.T) {
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	l := newLayout(t)
	dir := buildContext(t, "FROM scratch\nCOPY busybox /busybox\nCOPY one.txt /one.txt\n", map[string]string{"one.txt": "1"})
	mustBuild(t, e, dir, l, "1700000000")
	before := blobs(t, l)
	if err := os.WriteFile(filepath.Join(dir, "one.txt"), []byte("2"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, e, dir, l, "1700000000")
	after := blobs(t, l)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("blob %s was %s, is %s", name, was, after[name])
		}
	}
	if added := len(after) - len(before); added != 3 {
		t.Errorf("%d blobs were added; want a layer, a config and a manifest", added)
	}
}

func TestAPulledBaseGivesTheSameDigestFromAnyState(t *testing.T) {
	host := registrytest.Start(t).Host
	first := start(t, options(t, t.TempDir()))
	base := newLayout(t)
	mustBuild(t, first, buildContext(t, "FROM scratch\nCOPY busybox /bin/busybox\n", nil), base, "1600000000")
	root, err := base.Root()
	if err != nil {
		t.Fatal(err)
	}
	img, err := base.Image(root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(host + "/base:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	dir := buildContext(t, "FROM "+tag.String()+`
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox mkdir /made && /bin/busybox chmod 700 /bin/busybox"]
`, nil)
	want, _ := mustBuild(t, first, dir, newLayout(t), "1700000000")
	stop(t, first)
	second := start(t, options(t, t.TempDir()))
	defer stop(t, second)
	if got, _ := mustBuild(t, second, dir, newLayout(t), "1700000000"); got != want {
		t.Errorf("digest over a pulled base %s, over one that was built here %s", got, want)
	}
	_, err = build(t.Context(), second, buildContext(t, "FROM "+host+"/none:1\n", nil), newLayout(t), nil, nil)
	if err == nil || !strings.Contains(err.Error(), host+"/none:1: not found") {
		t.Errorf("a base that does not exist: %v; want its name and that it is not found", err)
	}
}

// blobs returns inode and modification time of every blob, by name.
func blobs(t *testing.T, l *image.Layout) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.Dir(), "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, entry := range entries {
		fi, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		found[entry.Name()] = fmt.Sprint(fi.Sys().(*syscall.Stat_t).Ino, fi.ModTime().UnixNano())
	}
	return found
}

func readJSON(t *testing.T, l *image.Layout, desc v1.Descriptor, v any) {
	t.Helper()
	blob, err := l.Blob(desc)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if err := json.NewDecoder(blob).Decode(v); err != nil {
		t.Fatal(err)
	}
}
