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
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/imagewright/imagewright/test/server"
	"golang.org/x/crypto/bcrypt"
)

const (
	// answerTimeout is how long a registry that listens may take to answer.
	answerTimeout = 60 * time.Second
	// stopTimeout is how long a registry may take to finish its requests after
	// SIGTERM before it is killed.
	stopTimeout = 10 * time.Second
)

// listeningOn is how its log says where it listens.
var listeningOn = regexp.MustCompile(`listening on (\d+\.\d+\.\d+\.\d+:\d+)`)

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
	addr    string
	process *server.Process
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
	cmd := exec.CommandContext(ctx, binary, "serve", config)
	cmd.Dir = o.Dir
	// Nothing of our environment: a REGISTRY_… variable would change its
	// configuration. Without the exporter it looks for an OpenTelemetry collector.
	cmd.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	s := &Server{}
	if s.process, err = server.Start("registry", cmd, listeningOn); err != nil {
		return nil, err
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
func (s *Server) PID() int { return s.process.PID() }

// Stop ends the registry and returns when its process is gone. What it stored
// stays. A second call does nothing.
func (s *Server) Stop() error { return s.process.Stop(stopTimeout) }

// await returns when the registry has said where it listens and answers there.
func (s *Server) await(ctx context.Context) (err error) {
	if s.addr, err = s.process.Await(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
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
	return server.Tool("registry")
}
