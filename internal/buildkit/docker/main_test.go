package docker

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/test/dockerd"
	bkclient "github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

// TestMain makes the test binary what imagewright-build is to a builder's
// container: a server, here the buildkitd beside it, and what connects with it.
func TestMain(m *testing.M) {
	StdioIfAsked()
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		fmt.Fprintln(os.Stderr, serve(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// authority is what stands in a CA bundle.
const authority = "a company's authority"

// serve becomes a buildkitd.
func serve(args []string) error {
	if slices.Contains(args, "--break") {
		return fmt.Errorf("this builder is broken")
	}
	command := []string{"buildkitd", "--oci-worker-net=host", "--containerd-worker=false"}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "--addr":
			command = append(command, arg)
		case "--state-dir":
			command = append(command, "--root="+value)
		case "--ca-bundle":
			if pems, err := os.ReadFile(value); err != nil || string(pems) != authority {
				return fmt.Errorf("the CA bundle is %q, %v", pems, err)
			}
		}
	}
	return syscall.Exec("/usr/bin/buildkitd", command, os.Environ())
}

// tool returns the path of a program that `make tools` installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../bin/tools", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v; run `make tools`", err)
	}
	return path
}

// runc returns the path of runc; sudo's and a plain user's PATH lack sbin.
func runc(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/sbin/runc", "/usr/local/sbin/runc", "/usr/bin/runc", "/usr/local/bin/runc"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("there is no runc; make packages-demo installs it")
	return ""
}

// importBuilder gives d the image "builder": buildkitd, buildctl and runc, and
// this test binary as imagewright-build.
func importBuilder(t *testing.T, d *dockerd.Engine) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d.Import(t, "builder", map[string]string{
		"usr/bin/buildkitd": tool(t, "buildkitd"), "usr/bin/buildctl": tool(t, "buildctl"),
		"usr/bin/runc": runc(t), "usr/bin/imagewright-build": self,
	})
}

// connect connects with d as a user of DOCKER_HOST does.
func connect(t *testing.T, d *dockerd.Engine) *Engine {
	t.Helper()
	e, err := Connect(t.Context(), Options{Environ: []string{"DOCKER_HOST=unix://" + d.Socket}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// contextOf makes a directory with a Dockerfile and a busybox.
func contextOf(t *testing.T, dockerfile string) fsutil.FS {
	t.Helper()
	dir := t.TempDir()
	shell, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"Dockerfile": []byte(dockerfile), "busybox": shell} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// solve builds files with c into export.
func solve(ctx context.Context, c *bkclient.Client, files fsutil.FS, export bkclient.ExportEntry) error {
	_, err := c.Solve(ctx, nil, bkclient.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{"force-network-mode": "none"},
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports:       []bkclient.ExportEntry{export},
	}, nil)
	return err
}

// fileIn returns the content of file name in the image of source.
func fileIn(t *testing.T, source, name string) (content string) {
	t.Helper()
	opened, err := image.Open(t.Context(), source, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	built, err := opened.Image()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := built.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		err := image.Walk(t.Context(), layer, image.Limits{}, func(e image.Entry, r io.Reader) error {
			if e.Path != name {
				return nil
			}
			text, err := io.ReadAll(r)
			content = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return content
}

// buildsARUN fails the test unless c builds a Dockerfile with a RUN in it into an
// OCI archive.
func buildsARUN(t *testing.T, c *bkclient.Client) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	err := solve(t.Context(), c, contextOf(t, dockerfile), bkclient.ExportEntry{
		Type:   bkclient.ExporterOCI,
		Output: func(map[string]string) (io.WriteCloser, error) { return os.Create(file) },
	})
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	if got := fileIn(t, file, "said"); got != "hello\n" {
		t.Errorf("the RUN step wrote %q; want hello", got)
	}
}

const dockerfile = `FROM scratch
COPY busybox /bin/sh
RUN echo hello >/said
`
