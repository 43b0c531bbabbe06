// Package server runs a program that serves on loopback and says in its log
// where: the packages beside it start a registry and a buildkitd with it.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// startTimeout is how long a server may take to listen: it takes 0.2 s on an
// idle machine, and tests run on busy ones.
const startTimeout = 60 * time.Second

// Process is a running server.
type Process struct {
	name   string
	cmd    *exec.Cmd
	log    log
	exited chan struct{} // closed when it is gone

	stop sync.Once
	err  error // what Stop returned
}

// Start starts cmd, which errors call by name, and has it die with this process,
// whatever becomes of it. Its output must say where it listens: that is the
// first group of listening, as the port is the kernel's choice.
func Start(name string, cmd *exec.Cmd, listening *regexp.Regexp) (*Process, error) {
	p := &Process{
		name: name, cmd: cmd, exited: make(chan struct{}),
		log: log{pattern: listening, listening: make(chan string, 1)},
	}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is about the thread that forked: keep it. https://go.dev/issue/27505
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it went stands in its log
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Await returns where the server listens once it does, or what it said instead.
func (p *Process) Await(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case addr := <-p.log.listening:
		return addr, nil
	case <-p.exited:
		return "", fmt.Errorf("%s ended at once; it said:\n%s", p.name, p.log.tail())
	case <-ctx.Done():
		return "", fmt.Errorf("%s did not listen within %v; it said:\n%s", p.name, startTimeout, p.log.tail())
	}
}

// PID is the server's process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the server in order, and returns when its process is gone. One that
// takes longer than patience is killed, which is an error. Further calls return
// what the first did.
func (p *Process) Stop(patience time.Duration) error {
	p.stop.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it is gone
		select {
		case <-p.exited:
		case <-time.After(patience):
			p.err = errors.Join(fmt.Errorf("%s did not end %v after SIGTERM and was killed; it said:\n%s", p.name, patience, p.log.tail()), p.Kill())
		}
	})
	return p.err
}

// Kill ends the server as a crash would, and returns when it is gone.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	return nil
}

// Tool returns the absolute path of a program in bin/tools of this module, where
// `make tools` puts it.
func Tool(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "bin", "tools", name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s in bin/tools; run make tools", name)
		}
	}
}

// tailBytes is how much of a server's log is kept for an error message.
const tailBytes = 8 << 10

// log keeps the end of what a server says and finds in it where it listens.
type log struct {
	pattern   *regexp.Regexp
	listening chan string // gets the address, once

	mu    sync.Mutex
	text  []byte
	found bool
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if match := l.pattern.FindSubmatch(l.text); match != nil && !l.found {
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
