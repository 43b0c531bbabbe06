package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/test/checkout"
)

// TestExampleRunsThroughAndLeavesNothing is `make demo` without make, with a home
// and a folder for temporary files of its own, where nobody else leaves any.
func TestExampleRunsThroughAndLeavesNothing(t *testing.T) {
	const defaultState = "/var/lib/imagewright" // the builder's, when it is not told another
	work, err := filepath.Abs(filepath.Join("..", "..", ".demo"))
	if err != nil {
		t.Fatal(err)
	}
	home, temporary := t.TempDir(), t.TempDir()
	state, traces := files(t, defaultState), tracesOf(t, work, 0)
	said, session := runDemo(t, []string{"HOME=" + home, "TMPDIR=" + temporary})
	for _, want := range []string{
		"Hello, world! This is hello 1.0.0.", "HEALTHCHECK /hello -health: healthy",
		"CVE-2021-44228", "exit code 3: the finding is over the threshold", "exit code 3: no passing verdict belongs to this digest",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in what it said:\n%s", want, said)
		}
	}
	for _, trace := range tracesOf(t, work, session) {
		if !slices.Contains(traces, trace) { // a shell of somebody who looks around there is none of the demo's
			t.Errorf("left: %s", trace)
		}
	}
	// Go counts its own runs below ~/.config/go, as in every home where it runs.
	counters := filepath.Join(home, ".config", "go")
	for _, file := range slices.Concat(files(t, home), files(t, temporary)) {
		if file != home && file != temporary && file != filepath.Dir(counters) && !strings.HasPrefix(file, counters) {
			t.Errorf("a file is left: %s", file)
		}
	}
	if after := files(t, defaultState); !slices.Equal(state, after) {
		t.Errorf("it has a builder's state of its own, and yet in the default place there were %q and are %q", state, after)
	}
}

// A user's own folder is not copied: it is built where it is, and nothing of it
// changes but the workspace.
func TestOwnApplicationIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "My App")
	for name, text := range map[string]string{
		"VERSION":        "2.0.0\n",
		"www/index.html": "<h1>mine</h1>\n",
		"Dockerfile": `FROM gcr.io/distroless/static-debian12
COPY --from=busybox:1.36 /bin/busybox /bin/busybox
COPY www /www
USER nonroot
EXPOSE 9000
STOPSIGNAL SIGKILL
ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "9000", "-h", "/www"]
`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := checkout.Commit(dir, checkout.Options{}); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	said, _ := runDemo(t, nil, "-app", dir)
	if !strings.Contains(said, "<h1>mine</h1>") || !strings.Contains(said, "my-app:v2.0.0-") {
		t.Errorf("neither its answer nor its tag is in what the demo said:\n%s", said)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("files were %v, are %v", before, after)
	}
}

// runDemo runs the program as make does, in the root of the repository, but in a
// session of its own.
func runDemo(t *testing.T, environ []string, args ...string) (said string, session int) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	// It dies with this thread, as a terminal's signals do not reach it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo %v: %v\n%s", args, err, out)
	}
	return string(out), cmd.Process.Pid
}

// files lists a folder's files but for the workspace's; of a folder that is not
// there, none.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == ".imagewright" {
			return fs.SkipDir
		}
		found = append(found, path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestBaseNames(t *testing.T) {
	for _, tc := range []struct {
		name, dockerfile string
		want             []string
	}{
		{"stages are no images", "FROM golang:1.26 AS build\nFROM build AS test\nFROM scratch\nCOPY --from=build /a /a\n", []string{"golang:1.26"}},
		{"copied from", "FROM debian:12\nCOPY --from=busybox:1.36 /a /a\nCOPY --from=0 /a /a\n", []string{"debian:12", "busybox:1.36"}},
		{"named once", "FROM debian:12 AS a\nFROM debian:12\n", []string{"debian:12"}},
		{"a variable is not ours to resolve", "ARG BASE\nFROM $BASE\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "Dockerfile")
			if err := os.WriteFile(path, []byte(tc.dockerfile), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := baseNames(path)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestImageName(t *testing.T) {
	for folder, want := range map[string]string{"hello-go": "hello-go", "My App!": "my-app", "ä": "app", "_x_": "x"} {
		if got := imageName(folder); got != want {
			t.Errorf("imageName(%q) = %q, want %q", folder, got, want)
		}
	}
}

func TestExposedPort(t *testing.T) {
	for want, exposed := range map[int]map[string]struct{}{
		8080: nil,
		80:   {"443/tcp": {}, "80": {}, "53/udp": {}},
	} {
		if got := exposedPort(v1.Config{ExposedPorts: exposed}); got != want {
			t.Errorf("exposedPort(%v) = %d, want %d", exposed, got, want)
		}
	}
}

func TestLookUpUser(t *testing.T) {
	rootfs := t.TempDir()
	if err := os.Mkdir(filepath.Join(rootfs, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/:/bin/sh\n",
		"group":  "root:x:0:\nstaff:x:50:app,root\n",
	} {
		if err := os.WriteFile(filepath.Join(rootfs, "etc", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		user     string
		uid, gid uint32
		fails    bool
	}{
		{"", 0, 0, false},
		{"app", 1000, 1001, false},
		{"1000", 1000, 1001, false},
		{"65532:65532", 65532, 65532, false},
		{"app:staff", 1000, 50, false},
		{"nobody-here", 0, 0, true},
	} {
		uid, gid, err := lookUpUser(rootfs, tc.user)
		if uid != tc.uid || gid != tc.gid || (err != nil) != tc.fails {
			t.Errorf("USER %q: got %d:%d, %v; want %d:%d, error %t", tc.user, uid, gid, err, tc.uid, tc.gid, tc.fails)
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	var flat bytes.Buffer
	archive := tar.NewWriter(&flat)
	for _, header := range []*tar.Header{
		{Typeflag: tar.TypeSymlink, Name: "out", Linkname: "/tmp", Uid: os.Getuid(), Gid: os.Getgid()},
		{Typeflag: tar.TypeReg, Name: "out/escaped", Mode: 0o644},
	} {
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unpack(&flat, filepath.Join(t.TempDir(), "rootfs")); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a file behind a link out of the image: got %v, want a refusal", err)
	}
}
