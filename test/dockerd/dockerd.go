// Package dockerd starts the real thing, a Docker Engine, for tests: with
// folders, mounts, processes and a containerd of its own, which end with it. One
// that the machine may have is not touched.
package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

const (
	// startTimeout is how long an engine may take to answer: it takes a second on
	// an idle machine, and tests run on busy ones.
	startTimeout = 90 * time.Second
	// stopTimeout is how long it may take to stop its containers and take its
	// mounts down, before it is killed.
	stopTimeout = 40 * time.Second
	pollEvery   = 50 * time.Millisecond
	tailBytes   = 4 << 10 // of its log, where it does not start
)

// Engine is a running Docker Engine.
type Engine struct {
	Socket string         // path of its socket
	API    *client.Client // a client of it

	dir    string
	cgroup string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when its process has ended
}

// inPrivate starts the engine as process 1 of its namespaces. On an empty /run it
// finds no containerd of the machine's and starts its own.
const inPrivate = `mount -t proc proc /proc && mount -t tmpfs -o mode=0755 tmpfs /run && exec "$@"`

// Start starts an engine, with further arguments of dockerd, which ends with the
// test. It has no bridge: containers have the host's network, or none. A machine
// that has no dockerd fails the test.
func Start(t testing.TB, arguments ...string) *Engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a Docker Engine is started by root only")
	}
	path, err := exec.LookPath("dockerd")
	if err != nil {
		t.Fatalf("%v; make packages-test installs it (apt: docker.io)", err)
	}
	// Not t.TempDir: sockets are in it, and their paths must be short.
	dir, err := os.MkdirTemp("", "dockerd")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{Socket: filepath.Join(dir, "docker.sock"), dir: dir, cgroup: filepath.Base(dir), ended: make(chan struct{})}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Errorf("stop dockerd: %v", err)
		}
	})
	if err := e.start(path, arguments); err != nil {
		t.Fatal(err)
	}
	e.await(t)
	return e
}

func (e *Engine) start(dockerd string, arguments []string) error {
	// The machine's /etc/docker/daemon.json is not for us.
	config := filepath.Join(e.dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		return err
	}
	log, err := os.Create(e.log())
	if err != nil {
		return err
	}
	defer log.Close()
	runtimes, err := runtimeArguments(e.dir)
	if err != nil {
		return err
	}
	e.cmd = exec.Command("sh", slices.Concat([]string{"-c", inPrivate, "sh", dockerd}, arguments, runtimes, []string{
		"--config-file", config, "--data-root", filepath.Join(e.dir, "data"),
		"--exec-root", filepath.Join(e.dir, "exec"), "--pidfile", filepath.Join(e.dir, "dockerd.pid"),
		"--host", "unix://" + e.Socket, "--cgroup-parent", "/" + e.cgroup,
		// Firewall, bridge and forwarding are the machine's, and stay as they are.
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
	})...)
	e.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir}
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig: syscall.SIGKILL, Setpgid: true,
	}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that forked: keep it. https://go.dev/issue/27505
		runtime.LockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			_ = e.cmd.Wait() // how it ended is in its log
		}
		close(e.ended)
	}()
	return <-started
}

// await waits until the engine answers.
func (e *Engine) await(t testing.TB) {
	t.Helper()
	var err error
	if e.API, err = client.New(client.WithHost("unix://" + e.Socket)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.API.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for {
		if _, err = e.API.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err == nil {
			return
		}
		select {
		case <-e.ended:
			said := e.tail()
			if strings.Contains(said, "operation not permitted") {
				t.Skipf("this kernel lets no Docker Engine run here; it said:\n%s", said)
			}
			t.Fatalf("dockerd ended at once; it said:\n%s", said)
		case <-ctx.Done():
			t.Fatalf("dockerd does not answer: %v; it said:\n%s", err, e.tail())
		case <-time.After(pollEvery):
		}
	}
}

// stop ends the engine, and with it whatever it started, and removes its files
// and the control groups that it leaves.
func (e *Engine) stop() (err error) {
	if e.cmd != nil && e.cmd.Process != nil {
		// It may have ended already, which the wait below sees too.
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.ended:
		case <-time.After(stopTimeout):
			err = fmt.Errorf("it did not end %s after SIGTERM and was killed; it said:\n%s", stopTimeout, e.tail())
			_ = e.cmd.Process.Kill()
			<-e.ended
		}
	}
	// Version 1 has a tree for each controller, version 2 one for all.
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		trees, globErr := filepath.Glob(filepath.Join(pattern, e.cgroup))
		err = errors.Join(err, globErr)
		for _, tree := range trees {
			err = errors.Join(err, removeCgroups(tree))
		}
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// removeCgroups removes a control group and those below it; their files are the
// kernel's and go with them.
func removeCgroups(root string) error {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	for len(found) > 0 { // those below first
		err = errors.Join(err, syscall.Rmdir(found[len(found)-1]))
		found = found[:len(found)-1]
	}
	return err
}

func (e *Engine) log() string { return filepath.Join(e.dir, "dockerd.log") }

// tail is the end of the log.
func (e *Engine) tail() string {
	text, err := os.ReadFile(e.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-tailBytes):])
}
