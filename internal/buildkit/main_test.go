package buildkit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

// TestMain makes the test binary what the real program is: its own engine. With
// arguments of ours it is another program, by the first of them.
func TestMain(m *testing.M) {
	ServeIfChild()
	programs := map[string]func(args []string) error{
		"parent":       buildAsParent,     // builds, and waits to be killed
		"hold":         holdEngine,        // has an engine until its input ends
		"unprivileged": startUnprivileged, // may not make namespaces
		"world":        enterWorld,        // becomes an ordinary user of a machine of its own
		"user":         buildAsUser,       // builds as that user
	}
	if len(os.Args) > 1 {
		if run, ok := programs[os.Args[1]]; ok {
			exit(run(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// testRuntime finds the runtime as the program does, then in the project's bin.
func testRuntime() (string, error) {
	path, err := findRuntime(context.Background(), "", environment(os.Environ()), "")
	if err == nil {
		return path, nil
	}
	for _, name := range []string{"runc", "crun"} {
		if path, err := filepath.Abs(filepath.Join("../../bin", name)); err == nil && isExecutable(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w; `make tools` installs one", err)
}

// options are those of an engine on dir that logs to the test.
func options(t *testing.T, dir string) Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests build images: run them as root")
	}
	binary, err := testRuntime()
	if err != nil {
		t.Fatal(err)
	}
	return Options{StateDir: dir, RuntimeBinary: binary, Stderr: t.Output()}
}

func start(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func stop(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// busybox returns the path of a static busybox.
func busybox(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("no busybox on PATH; `make tools` installs it (apt: busybox-static)")
	}
	return path
}

// buildContext makes a context: busybox, the Dockerfile and files, by name.
func buildContext(t *testing.T, dockerfile string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	shell, err := os.ReadFile(busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"busybox": string(shell), "Dockerfile": dockerfile}
	maps.Copy(all, files)
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// build builds dir into l, as steps/build does, and returns the root.
func build(ctx context.Context, e *Engine, dir string, l *image.Layout, attrs map[string]string, status chan *client.SolveStatus) (v1.Descriptor, error) {
	var root v1.Descriptor
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return root, err
	}
	store := LayoutStore(l)
	export := map[string]string{"tar": "false"}
	maps.Copy(export, attrs)
	response, err := e.Client().Solve(ctx, nil, client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{},
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports:       []client.ExportEntry{{Type: client.ExporterOCI, Attrs: export, OutputStore: store}},
	}, status)
	if err != nil {
		return root, errors.Join(err, store.Err())
	}
	raw, err := base64.StdEncoding.DecodeString(response.ExporterResponse["containerimage.descriptor"])
	if err != nil {
		return root, err
	}
	if err := json.Unmarshal(raw, &root); err != nil {
		return root, err
	}
	return root, l.SetRoot(root)
}

func newLayout(t *testing.T) *image.Layout {
	t.Helper()
	l, err := image.CreateLayout(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mustBuild builds with an epoch and fails the test on an error; it returns the
// digest, and the names of the steps that were not cached.
func mustBuild(t *testing.T, e *Engine, dir string, l *image.Layout, epoch string) (string, []string) {
	t.Helper()
	status := make(chan *client.SolveStatus)
	var ran []string
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		seen := map[string]bool{}
		for s := range status {
			for _, v := range s.Vertexes {
				if id := v.Digest.String(); v.Completed != nil && !v.Cached && !seen[id] && !strings.HasPrefix(v.Name, "[internal]") {
					seen[id] = true
					ran = append(ran, v.Name)
				}
			}
		}
	}()
	root, err := build(t.Context(), e, dir, l, map[string]string{"source-date-epoch": epoch}, status)
	<-finished
	if err != nil {
		t.Fatal(err)
	}
	return root.Digest.String(), ran
}
