// Package buildkitd starts the real thing, built from BuildKit's own module, as
// a process of its own on loopback: for tests it is the builder that stands
// somewhere else.
package buildkitd

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 60 * time.Second // it is ready in 0.2 s on an idle machine
	stopTimeout  = 20 * time.Second // after SIGTERM, before it is killed
	tailBytes    = 8 << 10          // of its log, kept for an error message
)

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

	cmd    *exec.Cmd
	log    log
	exited chan struct{} // closed when the process is gone
	stop   sync.Once
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
	s := &Server{log: log{listening: make(chan string, 1)}, exited: make(chan struct{})}
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", inside, Tool(t, "buildkitd")}, args...)...)
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	s.cmd.Dir = dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	if err := s.start(); err != nil {
		t.Fatalf("start buildkitd: %v", err)
	}
	t.Cleanup(func() { s.end(t) })
	s.await(t, o.Addr)
	return s
}

// start runs the process from a goroutine that keeps its thread: Pdeathsig
// fires when the thread that forked ends, not only when the process does.
func (s *Server) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // how it went stands in its log
			close(s.exited)
		}
	}()
	return <-started
}

func (s *Server) await(t testing.TB, asked string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	select {
	case addr := <-s.log.listening:
		s.Addr = "tcp://" + addr
		if strings.HasPrefix(asked, "unix:") {
			s.Addr = asked
		}
	case <-s.exited:
		t.Fatalf("buildkitd ended at once; it said:\n%s", s.log.tail())
	case <-ctx.Done():
		t.Fatalf("buildkitd did not listen within %v; it said:\n%s", startTimeout, s.log.tail())
	}
}

// Kill ends it as a crash would, and returns when it is gone.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-s.exited
}

// end ends it in order.
func (s *Server) end(t testing.TB) {
	s.stop.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error means that it is gone
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			t.Errorf("buildkitd did not end %v after SIGTERM; it said:\n%s", stopTimeout, s.log.tail())
			s.Kill(t)
		}
	})
}

// Log is the end of what it said.
func (s *Server) Log() string { return s.log.tail() }

// Tool returns the absolute path of buildkitd or buildctl: in the folder
// $TEST_BUILDKIT, else in bin/tools of this module, where `make tools` puts it.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("TEST_BUILDKIT"); dir != "" {
		return filepath.Join(dir, name)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "bin", "tools", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("no %s in bin/tools; run make tools", name)
		}
	}
}

// log keeps the end of what buildkitd says and finds in it where it listens.
type log struct {
	listening chan string // gets the address, once
	mu        sync.Mutex
	text      []byte
	found     bool
}

// The port is the kernel's choice, and the log is where it says which.
var listeningOn = regexp.MustCompile(`running server on ([^\s"]+)`)

// Write is called by the goroutine that copies the process's output.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if match := listeningOn.FindSubmatch(l.text); match != nil && !l.found {
		l.found = true
		l.listening <- string(match[1])
	}
	if extra := len(l.text) - tailBytes; extra > 0 {
		l.text = l.text[extra:]
	}
	return len(p), nil
}

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
