// Package buildkitd starts the real thing, built from BuildKit's own module, as
// a process of its own on loopback: for tests it is the builder that stands
// somewhere else.
package buildkitd

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagewright/imagewright/test/server"
)

// stopTimeout is how long it may take after SIGTERM before it is killed.
const stopTimeout = 20 * time.Second

// listeningOn is how its log says where it listens.
var listeningOn = regexp.MustCompile(`running server on ([^\s"]+)`)

// Options say how a buildkitd is run. The zero value listens on a loopback port
// of the kernel's choice, without TLS.
type Options struct {
	Dir    string // for all it stores; empty means one of the test
	Addr   string // tcp://127.0.0.1:PORT or unix:///PATH; empty means tcp://127.0.0.1:0
	TLS    *Pair  // its certificate; nil for none
	Client string // PEM file of the authority whose certificates clients must have; "" lets in all
}

// Server is a running buildkitd.
type Server struct {
	Addr string // tcp://127.0.0.1:PORT or unix:///PATH

	process *server.Process
}

// Start runs a buildkitd that ends with the test, or with this process, whatever
// becomes of it; it returns when it listens.
//
// It gets a mount and a PID namespace of its own, so that no mount, no process
// and nothing in /run outlives it even when it is killed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	dir := cmp.Or(o.Dir, t.TempDir())
	config := filepath.Join(dir, "buildkitd.toml") // an empty one: that of the machine must not count
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", config, "--root", filepath.Join(dir, "state"), "--addr", cmp.Or(o.Addr, "tcp://127.0.0.1:0"), "--containerd-worker=false"}
	if o.TLS != nil {
		args = append(args, "--tlscert", o.TLS.Cert, "--tlskey", o.TLS.Key)
	}
	if o.Client != "" {
		args = append(args, "--tlscacert", o.Client)
	}
	const inside = `mount -t proc proc /proc && mount -t tmpfs tmpfs /run && exec "$0" "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", inside, Tool(t, "buildkitd")}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	process, err := server.Start("buildkitd", cmd, listeningOn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Stop(stopTimeout); err != nil {
			t.Error(err)
		}
	})
	addr, err := process.Await(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addr = "tcp://" + addr
	if strings.HasPrefix(o.Addr, "unix:") {
		addr = o.Addr
	}
	return &Server{Addr: addr, process: process}
}

// Kill ends it as a crash would, and returns when it is gone.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// Tool returns the absolute path of buildkitd or buildctl: in the folder
// $TEST_BUILDKIT, else in bin/tools of this module, where `make tools` puts it.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("TEST_BUILDKIT"); dir != "" {
		return filepath.Join(dir, name)
	}
	path, err := server.Tool(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
