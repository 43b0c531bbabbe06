package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watchReads returns a function that tells whether anybody opened or read one of
// paths, or what is in it, since.
func watchReads(t *testing.T, paths ...string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, path := range paths {
		if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS); err != nil {
			t.Fatal(err)
		}
	}
	return func() bool {
		n, err := unix.Read(fd, make([]byte, 4096))
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		return n > 0
	}
}

func TestWhatDockerignoreNamesIsNeverRead(t *testing.T) {
	dir := checkout(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "large.bin\nignored\n", "kept": "k", "ignored/x": "x",
	})
	large, ignored := filepath.Join(dir, "large.bin"), filepath.Join(dir, "ignored")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 2<<30); err != nil { // without a block on the disk
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(ignored, "pipe"), 0o600); err != nil { // opening it would never end
		t.Fatal(err)
	}
	read, readKept := watchReads(t, large, ignored), watchReads(t, filepath.Join(dir, "kept"))
	run{dir: dir, state: t.TempDir()}.mustBuild(t)
	if !readKept() {
		t.Fatal("not even the file that is wanted was seen to be read")
	}
	if read() {
		t.Error("a file that .dockerignore names was opened")
	}
	files := layerFiles(t, built(t, dir))
	if _, ok := files["kept"]; !ok || files["large.bin"] != "" || files["ignored/x"] != "" {
		t.Errorf("the image has %d files, want what .dockerignore leaves", len(files))
	}
}

func TestContextOfManyFiles(t *testing.T) {
	const files, perDir = 50_000, 500
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", "sentinel": "1"})
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprint("d", i/perDir))
		if i%perDir == 0 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := run{dir: dir, state: t.TempDir()}
	took := func() time.Duration {
		begun := time.Now()
		r.mustBuild(t)
		return time.Since(begun)
	}
	first := took()
	watched := watchReads(t, filepath.Join(dir, "d0", "0"))
	second := took()
	if watched() {
		t.Error("a file that did not change was sent again")
	}
	if second > first {
		t.Errorf("with nothing changed the build takes %v, after %v with everything new", second, first)
	}
	if got := len(layerFiles(t, built(t, dir))); got < files {
		t.Errorf("the image has %d files, want %d", got, files)
	}
	t.Logf("%d files: %v, and %v when they are known", files, first.Round(time.Millisecond), second.Round(time.Millisecond))
}

// A test binary in a step of a build: it prints the keys of the agent that the
// step was handed.
const listKeys = "IMAGEWRIGHT_TEST_LIST_KEYS"

func TestStepsReachTheKeysThatTheyAreHanded(t *testing.T) {
	if os.Getenv(listKeys) != "" {
		printKeys(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := checkout(t, map[string]string{"Dockerfile": `FROM base
RUN --mount=type=ssh,id=deploy,required=true --mount=type=bind,target=/context \
    ` + listKeys + `=1 TMPDIR=/ /context/test -test.run='^` + t.Name() + `$' -test.v
`})
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	key := sshKey(t, "")
	o := run{dir: dir, state: t.TempDir(), args: []string{useBase(t), "--ssh=deploy=" + key}}.mustBuild(t)
	if want := "key " + fingerprint(t, key); !strings.Contains(o.stderr, want) {
		t.Errorf("the step did not find %s:\n%s", want, o.stderr)
	}
}
