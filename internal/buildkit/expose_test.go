package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// serveEngine serves e on addr until the test ends, and returns the address.
func serveEngine(t *testing.T, e *Engine, addr string) string {
	t.Helper()
	l, err := Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background()) // the test's ends before its cleanup
	enough := errors.New("enough")
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel(enough)
		if err := <-served; !errors.Is(err, enough) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve() = %v; want what ended its context, or that the engine was closed", err)
		}
	})
	return l.Addr().Network() + "://" + l.Addr().String()
}

// buildctl runs the real buildctl against addr.
func buildctl(t *testing.T, addr string, args ...string) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/tools/buildctl")
	if err != nil {
		t.Fatal(err)
	}
	if !isExecutable(path) {
		t.Fatal("no bin/tools/buildctl; `make tools` installs it")
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--addr", addr}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("buildctl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestBuildctlBuildsWithAServedEngine(t *testing.T) {
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	dir := buildContext(t, fmt.Sprintf(quick, "served"), nil)
	for _, addr := range []string{"unix://" + filepath.Join(t.TempDir(), "buildkit.sock"), "tcp://127.0.0.1:0", "tcp://[::1]:0"} {
		t.Run(addr[:4], func(t *testing.T) {
			at := serveEngine(t, e, addr)
			out := filepath.Join(t.TempDir(), "out")
			buildctl(t, at, "build", "--progress=plain", "--frontend=dockerfile.v0", "--local=context="+dir, "--local=dockerfile="+dir,
				"--output=type=local,dest="+out)
			if made, err := os.ReadFile(filepath.Join(out, "made")); string(made) != "served\n" {
				t.Errorf("the build made %q, %v", made, err)
			}
			if workers := buildctl(t, at, "debug", "workers"); !strings.Contains(workers, "linux/") {
				t.Errorf("workers: %q", workers)
			}
			checkHealth(t, at)
		})
	}
}

func checkHealth(t *testing.T, addr string) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(addr, "tcp://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			network, at, _ := strings.Cut(addr, "://")
			return (&net.Dialer{}).DialContext(ctx, network, at)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v; want SERVING", answer, err)
	}
}

// A client of a served engine goes with the program that served it, although
// another keeps the engine.
func TestAClientOfAServedEngineGoesWithTheServer(t *testing.T) {
	o := options(t, t.TempDir())
	server, other := start(t, o), start(t, o)
	defer stop(t, other)
	addr := serveEngine(t, server, "unix://"+filepath.Join(t.TempDir(), "buildkit.sock"))
	conn, err := net.Dial("unix", strings.TrimPrefix(addr, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 9)); err != nil { // HTTP/2's settings
		t.Fatalf("the engine does not speak: %v", err)
	}
	stop(t, server)
	b := make([]byte, 512)
	for err == nil {
		_, err = conn.Read(b)
	}
	if _, err := other.Client().ListWorkers(t.Context()); err != nil {
		t.Errorf("the engine is gone for others too: %v", err)
	}
}

func TestWhereAnEngineMayBeServed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	busy := filepath.Join(dir, "busy.sock")
	listening, err := Listen("unix://" + busy)
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	dead := filepath.Join(dir, "dead.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	for _, tc := range []struct {
		addr string
		code int
		want string // in error and hint
	}{
		{"unix://" + filepath.Join(dir, "new.sock"), 0, ""},
		{"unix://" + dead, 0, ""},
		{"unix://" + busy, fault.ExitFailed, "already"},
		{"unix://" + file, fault.ExitUsage, "no socket"},
		{"unix://" + filepath.Join(dir, "none", "x.sock"), fault.ExitFailed, "no such file"},
		{"unix://relative.sock", fault.ExitUsage, "unix:///"},
		{"tcp://127.0.0.1:0", 0, ""},
		{"tcp://0.0.0.0:1234", fault.ExitUsage, "ssh -L"},
		{"tcp://192.0.2.1:1234", fault.ExitUsage, "ssh -L"},
		{"tcp://localhost:1234", fault.ExitUsage, "127.0.0.1"},
		{"ssh://host", fault.ExitUsage, "unix:///"},
		{"/run/x.sock", fault.ExitUsage, "unix:///"},
	} {
		t.Run(tc.addr, func(t *testing.T) {
			l, err := Listen(tc.addr)
			if l != nil {
				defer l.Close()
			}
			if text := fmt.Sprint(err, fault.Hint(err)); fault.Code(err) != tc.code || !strings.Contains(text, tc.want) {
				t.Errorf("Listen() = %s (exit %d); want exit %d and %q", text, fault.Code(err), tc.code, tc.want)
			}
			if path, ok := strings.CutPrefix(tc.addr, "unix://"); ok && err == nil {
				if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
					t.Errorf("the socket's mode is %v, %v; want 0600", fi.Mode(), err)
				}
			}
		})
	}
}
