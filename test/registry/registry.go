// Package registry starts the real thing, CNCF Distribution, as a process of
// its own on a free loopback port. Tests and the demo talk to it; it is what
// most people run when they run a registry.
package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// startTimeout is how long a registry may take to answer: it is ready in 0.1 s
// on an idle machine, and tests run on busy ones.
const startTimeout = 60 * time.Second

// stopTimeout is how long a registry may take to finish its requests after
// SIGTERM before it is killed.
const stopTimeout = 10 * time.Second

// Options say how a registry is run. The zero value, with a Dir, is an open
// registry on a port of the kernel's choice.
type Options struct {
	// Dir holds its configuration and all it stores. A registry started again
	// on the same folder has what the last one had.
	Dir string
	// Binary is the program; empty means $TEST_REGISTRY, else bin/tools/registry
	// of this module, where `make tools` puts it.
	Binary string
	// Addr is where it listens; empty means 127.0.0.1:0.
	Addr string
	// Users and their passwords; empty means that nobody has to log in.
	Users map[string]string
}

// Server is a running registry.
type Server struct {
	addr   string
	cmd    *exec.Cmd
	log    *log
	exited chan error // gets the process's end, once
	stop   sync.Once
	err    error // what Stop returned
}

// Start runs a registry and returns when it answers. It ends with Stop, when
// ctx ends, or with this process, whatever becomes of it.
func Start(ctx context.Context, o Options) (*Server, error) {
	binary, err := findBinary(o.Binary)
	if err != nil {
		return nil, err
	}
	config, err := o.writeConfig()
	if err != nil {
		return nil, fmt.Errorf("configure registry in %s: %w", o.Dir, err)
	}
	s := &Server{log: newLog(), exited: make(chan error, 1)}
	s.cmd = exec.CommandContext(ctx, binary, "serve", config)
	s.cmd.Dir = o.Dir
	// Nothing of our environment: a REGISTRY_… variable would change its
	// configuration. Without the exporter it looks for an OpenTelemetry collector.
	s.cmd.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// ForTest is Start for tests: storage in a folder of the test unless o names
// one, and a stop when the test ends.
func ForTest(t testing.TB, o Options) *Server {
	t.Helper()
	o.Dir = cmp.Or(o.Dir, t.TempDir())
	// Not t.Context(): it ends before the cleanups that may still need us.
	s, err := Start(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Addr is host:port, as it stands in front of a repository's name.
func (s *Server) Addr() string { return s.addr }

// PID is the registry's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the registry and returns when its process is gone. What it stored
// stays. A second call does nothing.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		// An error means that it is gone already, which the wait below sees too.
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			s.err = errors.Join(fmt.Errorf("registry %s did not end %v after SIGTERM; killed", s.addr, stopTimeout), s.cmd.Process.Kill())
			<-s.exited
		}
	})
	return s.err
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
			s.exited <- s.cmd.Wait()
			s.log.close()
		}
	}()
	return <-started
}

// await returns when the registry has said where it listens and answers there.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case s.addr = <-s.log.listening:
	case <-s.log.closed:
		return fmt.Errorf("registry ended at once; it said:\n%s", s.log.tail())
	case <-ctx.Done():
		return fmt.Errorf("registry did not listen within %v; it said:\n%s", startTimeout, s.log.tail())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/v2/", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("registry at %s does not answer: %w", s.addr, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("registry at %s answers /v2/ with %s", s.addr, response.Status)
	}
	return nil
}

// writeConfig writes what `registry serve` reads, as JSON, which is YAML too.
func (o Options) writeConfig() (string, error) {
	storage := filepath.Join(o.Dir, "data")
	if err := os.MkdirAll(storage, 0o755); err != nil {
		return "", err
	}
	type section = map[string]any
	config := section{
		"version": "0.1",
		"log":     section{"level": "info", "accesslog": section{"disabled": true}},
		"storage": section{
			"filesystem": section{"rootdirectory": storage},
			"delete":     section{"enabled": true},
		},
		"http": section{"addr": cmp.Or(o.Addr, "127.0.0.1:0"), "secret": rand.Text()},
	}
	if len(o.Users) > 0 {
		path := filepath.Join(o.Dir, "htpasswd")
		if err := writeUsers(path, o.Users); err != nil {
			return "", err
		}
		config["auth"] = section{"htpasswd": section{"realm": "test registry", "path": path}}
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(o.Dir, "config.yml")
	return path, os.WriteFile(path, text, 0o600)
}

func writeUsers(path string, users map[string]string) error {
	var lines bytes.Buffer
	for name, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return fmt.Errorf("password of %s: %w", name, err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", name, hash)
	}
	return os.WriteFile(path, lines.Bytes(), 0o600)
}

func findBinary(given string) (string, error) {
	if path := cmp.Or(given, os.Getenv("TEST_REGISTRY")); path != "" {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "bin", "tools", "registry")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no registry program in bin/tools; run make tools")
		}
	}
}

// tailBytes is how much of a registry's log is kept for an error message.
const tailBytes = 4 << 10

// log keeps the end of what a registry says and finds in it where it listens.
type log struct {
	listening chan string   // gets the address, once
	closed    chan struct{} // closed when the process ended
	mu        sync.Mutex
	text      []byte
	found     bool
}

func newLog() *log {
	return &log{listening: make(chan string, 1), closed: make(chan struct{})}
}

// The port is the kernel's choice, and the log is where the registry says which.
var listeningOn = regexp.MustCompile(`listening on (\d+\.\d+\.\d+\.\d+:\d+)`)

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

func (l *log) close() { close(l.closed) }

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

var _ io.Writer = (*log)(nil)
