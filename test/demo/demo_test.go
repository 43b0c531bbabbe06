package main

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/test/checkout"
)

// TestExampleRunsThroughAndLeavesNothing is `make demo` without make.
func TestExampleRunsThroughAndLeavesNothing(t *testing.T) {
	said := runDemo(t)
	for _, want := range []string{
		"Hello, world! This is hello 1.0.0.", "HEALTHCHECK /hello -health: healthy",
		"CVE-2021-44228", "exit code 3: the finding is over the threshold", "exit code 3: no passing verdict belongs to this digest",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in what it said:\n%s", want, said)
		}
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(root, ".demo")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), work) {
		t.Errorf("a mount is left below %s:\n%s", work, mounts)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		// A process that ends meanwhile is none that was left.
		if command, err := os.ReadFile(file); err == nil && strings.Contains(string(command), work) {
			t.Errorf("a process is left: %s", bytes.ReplaceAll(command, []byte{0}, []byte(" ")))
		}
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
	said := runDemo(t, "-app", dir)
	if !strings.Contains(said, "<h1>mine</h1>") || !strings.Contains(said, "my-app:v2.0.0-") {
		t.Errorf("neither its answer nor its tag is in what the demo said:\n%s", said)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("files were %v, are %v", before, after)
	}
}

// runDemo runs the program as make does, in the root of the repository.
func runDemo(t *testing.T, args ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// files lists a folder's files but for the workspace's.
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
