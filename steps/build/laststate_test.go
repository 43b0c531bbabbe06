package build

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestCancelledBuildKeepsTheLastState(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM base\nRUN echo fine\n"})
	r := run{dir: dir, state: t.TempDir(), args: []string{useBase(t)}}
	r.mustBuild(t)
	before := tree(t, filepath.Join(dir, ".imagewright"), "image", "record")
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM base\nRUN echo have''be''gun; sleep 300\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := r.buildUntil(t, "havebegun")
	if o.code == 0 {
		t.Errorf("a cancelled build exits 0:\n%s", o.stderr)
	}
	if diff := cmp.Diff(before, tree(t, filepath.Join(dir, ".imagewright"), "image", "record")); diff != "" {
		t.Errorf("the cancelled build changed the last good state (-before +after):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM base\nRUN echo fine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if o := r.mustBuild(t); !strings.Contains(o.stderr, "changed=false") {
		t.Errorf("the state does not know the last good build any more:\n%s", o.stderr)
	}
}

func TestFullDiskKeepsTheLastState(t *testing.T) {
	noise := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "small"})
	workspace := filepath.Join(dir, ".imagewright")
	if err := os.Mkdir(workspace, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", workspace, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(workspace, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := run{dir: dir, state: t.TempDir()}
	r.mustBuild(t)
	before := tree(t, workspace, "image", "record")
	if err := os.WriteFile(filepath.Join(dir, "a"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	o := r.build(t)
	if o.code != 1 || !strings.Contains(o.stderr, "imagewright-build: write the image to .imagewright/image: ") || !strings.Contains(o.stderr, "free some space there") {
		t.Errorf("exit code %d, want 1 and what to do:\n%s", o.code, o.stderr)
	}
	// Blobs of the new image may stay; the next good build removes them.
	after := tree(t, workspace, "image", "record")
	for path, what := range before {
		if after[path] != what {
			t.Errorf("the failed build changed %s: %q, before %q", path, after[path], what)
		}
	}
	built(t, dir)
}

func TestTheOwnerOfTheCheckoutAlsoGetsWhatAFailedBuildLeft(t *testing.T) {
	const owner = 1234
	dir := checkout(t, map[string]string{"Dockerfile": "FROM base\nRUN exit 3\n"})
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
	o := run{dir: dir, state: t.TempDir(), args: []string{useBase(t), "--outputs=type=local,dest=out/files", "--cache-to=type=local,dest=kept/cache"}}.build(t)
	if o.code != 1 {
		t.Fatalf("exit code %d, want 1:\n%s", o.code, o.stderr)
	}
	for _, path := range []string{"out", "out/files", "kept", "kept/cache", ".imagewright"} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Error(err)
		} else if uid := info.Sys().(*syscall.Stat_t).Uid; uid != owner {
			t.Errorf("%s is user %d's, want the checkout's owner", path, uid)
		}
	}
}
