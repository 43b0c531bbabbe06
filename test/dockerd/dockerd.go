// Package dockerd starts the real thing, a Docker Engine, for tests and
// benchmarks: with folders, mounts, processes and a containerd of its own, which end with it. One
// that the machine may have is not touched.
package dockerd

import (
	"cmp"
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

// Options say which engine is started. The zero value is that of the machine.
type Options struct {
	Program   string   // dockerd's path; empty means the one of PATH
	Dir       string   // where its folder is made; empty means the system's for temporary files
	Arguments []string // further ones of dockerd
}

// errForbidden is that of an engine that the kernel does not let run.
var errForbidden = errors.New("this kernel lets no Docker Engine run here")

// Start starts an engine, with further arguments of dockerd, which ends with the
// test. A machine that has no dockerd fails the test.
func Start(t testing.TB, arguments ...string) *Engine {
	t.Helper()
	e, err := Launch(t.Context(), Options{Arguments: arguments})
	if errors.Is(err, errForbidden) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Launch starts an engine and returns when it answers; it is the caller's to
// stop. It has no bridge: containers have the host's network, or none.
func Launch(ctx context.Context, o Options) (*Engine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a Docker Engine is started by root only")
	}
	program, err := exec.LookPath(cmp.Or(o.Program, "dockerd"))
	if err != nil {
		return nil, fmt.Errorf("%w; make packages-test installs it (apt: docker.io)", err)
	}
	// Of a short name: sockets are in it, and their paths must be short.
	dir, err := os.MkdirTemp(o.Dir, "dockerd")
	if err != nil {
		return nil, err
	}
	e := &Engine{Socket: filepath.Join(dir, "docker.sock"), dir: dir, cgroup: filepath.Base(dir), ended: make(chan struct{})}
	err = e.start(program, o.Arguments)
	if err == nil {
		err = e.await(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
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
func (e *Engine) await(ctx context.Context) (err error) {
	if e.API, err = client.New(client.WithHost("unix://" + e.Socket)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if _, err = e.API.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err == nil {
			return nil
		}
		select {
		case <-e.ended:
			said := e.tail()
			if strings.Contains(said, "operation not permitted") {
				return fmt.Errorf("%w; it said:\n%s", errForbidden, said)
			}
			return fmt.Errorf("dockerd ended at once; it said:\n%s", said)
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w; it said:\n%s", err, e.tail())
		case <-time.After(pollEvery):
		}
	}
}

// Stop ends the engine, and with it whatever it started, and removes its files
// and the control groups that it leaves.
func (e *Engine) Stop() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("stop dockerd: %w", err)
		}
	}()
	if e.API != nil {
		err = e.API.Close()
	}
	if e.cmd != nil && e.cmd.Process != nil {
		// It may have ended already, which the wait below sees too.
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.ended:
		case <-time.After(stopTimeout):
			err = errors.Join(err, fmt.Errorf("it did not end %s after SIGTERM and was killed; it said:\n%s", stopTimeout, e.tail()))
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
