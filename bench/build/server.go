package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/bench/trial"
)

const (
	// readyTimeout is how long a server may take to answer on a busy machine.
	readyTimeout = 60 * time.Second
	// pollEvery is how often we look whether it listens: the grain of what is measured.
	pollEvery = time.Millisecond
	// killAfter is how long one may take to stop after SIGTERM.
	killAfter = 20 * time.Second
	// tailBytes is how much of its log is shown when it does not answer.
	tailBytes = 4 << 10
)

// launch is how a server of BuildKit's API is started.
type launch struct {
	name    string
	dir     string // all that is the server's
	program string
	args    []string
	stateAs string // the option that names the folder of its state
}

// newServe is imagewright-build as a server.
func newServe(s setting) *launch {
	l := &launch{name: "imagewright-build serve", dir: filepath.Join(s.Work, "serve"), program: s.build, stateAs: "--state-dir"}
	l.args = []string{"serve", "--addr=" + l.addr(), "--runtime=" + s.runc}
	return l
}

// newBuildkitd is the stock one, with the worker that ours has. Its configuration
// is empty: the machine's is not for us.
func newBuildkitd(s setting) (*launch, error) {
	l := &launch{name: "buildkitd", dir: filepath.Join(s.Work, "buildkitd"), program: s.buildkitd, stateAs: "--root"}
	config := filepath.Join(l.dir, "buildkitd.toml")
	l.args = []string{
		"--config=" + config, "--addr=" + l.addr(), "--otel-socket-path=" + filepath.Join(l.dir, "otel.sock"),
		"--containerd-worker=false", "--oci-worker-snapshotter=overlayfs", "--oci-worker-net=host", "--oci-worker-binary=" + s.runc,
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	return l, os.WriteFile(config, nil, 0o644)
}

func (l *launch) socket() string { return filepath.Join(l.dir, "api.sock") }

func (l *launch) addr() string { return "unix://" + l.socket() }

// used is the state that its builds are done on.
func (l *launch) used() string { return filepath.Join(l.dir, "state") }

// onFresh measures a start with an empty state.
func (l *launch) onFresh(ctx context.Context, _ int) (took time.Duration, err error) {
	state, err := os.MkdirTemp(l.dir, "fresh-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	return l.measure(ctx, state)
}

// onUsed measures a start with the state that builds have left.
func (l *launch) onUsed(ctx context.Context, _ int) (time.Duration, error) {
	return l.measure(ctx, l.used())
}

func (l *launch) measure(ctx context.Context, state string) (time.Duration, error) {
	s, err := l.start(ctx, state)
	if err != nil {
		return 0, err
	}
	return s.took, s.stop()
}

// server is one that answers.
type server struct {
	name        string
	log         string        // file with what it says
	took        time.Duration // from the start of the process to the answer
	snapshotter string
	cmd         *exec.Cmd
	ended       chan struct{} // closed when its process has
}

// start starts a server on a state and returns when it answers.
func (l *launch) start(ctx context.Context, state string) (*server, error) {
	home := filepath.Join(l.dir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	s := &server{name: l.name, log: filepath.Join(l.dir, "log"), ended: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not with ctx: it ends by stop, in order.
	s.cmd = exec.Command(l.program, append(l.args, l.stateAs+"="+state)...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = l.dir, trial.Environ(home), log, log
	// A group of its own: a Ctrl-C is for us, and we stop it when we are done.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in its log
		close(s.ended)
	}()
	s.snapshotter, err = s.await(ctx, l.socket())
	s.took = time.Since(began)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// await returns when the server answers, with how its worker keeps layers.
func (s *server) await(ctx context.Context, socket string) (snapshotter string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		// What asks a socket that is not there yet takes time from who makes it.
		if _, err = os.Stat(socket); err == nil {
			if snapshotter, err = ask(ctx, socket); err == nil {
				return snapshotter, nil
			}
		}
		select {
		case <-s.ended:
			return "", fmt.Errorf("%s ended at once; it said:\n%s", s.name, tail(s.log))
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not answer: %w: %w; it said:\n%s", s.name, ctx.Err(), err, tail(s.log))
		case <-time.After(pollEvery):
		}
	}
}

// ask makes the call that tells that builds can begin. Each time with a new
// connection: gRPC waits for a second before it tries an old one again.
func ask(ctx context.Context, socket string) (snapshotter string, err error) {
	c, err := client.New(ctx, "unix://"+socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return "", err
	}
	if len(workers) == 0 {
		return "", errors.New("it has no worker")
	}
	return workers[0].Labels["org.mobyproject.buildkit.worker.snapshotter"], nil
}

// stop ends the server and returns when its process is gone.
func (s *server) stop() (err error) {
	// It may have ended already, which the wait below sees too.
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(killAfter):
		err = errors.Join(fmt.Errorf("%s did not end %v after SIGTERM; killed", s.name, killAfter), s.cmd.Process.Kill())
		<-s.ended
	}
	return err
}

// tail is the end of a log.
func tail(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-tailBytes):]
}
