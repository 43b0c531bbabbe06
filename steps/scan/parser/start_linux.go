package parser

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"golang.org/x/sys/unix"
)

// errBrokenPipe is what a writer gets that nobody reads any more.
var errBrokenPipe error = syscall.EPIPE

// Process is a running parser. Its methods may be called from many goroutines.
type Process struct {
	cmd     *exec.Cmd
	socket  *socket
	scratch string
	bounds  sandbox.Options
	words   *lastWords
	exited  chan struct{} // closed when it is gone
	death   error         // how it went; read after exited

	ready  chan struct{} // closed when it has said what holds it
	status sandbox.Status
	refuse error // why it cannot be used; read after ready
}

// setup is the first thing a parser is told.
type setup struct {
	Sandbox sandbox.Options `json:"sandbox"`
	Rules   Rules           `json:"rules"`
}

// Start starts a parser and returns while it gets ready; ctx bounds its life.
// The caller closes it.
func Start(ctx context.Context, o Options) (_ *Process, err error) {
	p := &Process{words: &lastWords{}, exited: make(chan struct{}), ready: make(chan struct{})}
	if p.scratch, err = os.MkdirTemp(o.TempDir, "imagewright-scan-"); err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	if err := p.spawn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that reads the image: %w", err), os.Remove(p.scratch))
	}
	p.bounds = sandbox.Options{
		Mode: o.Sandbox, ScratchDir: p.scratch, MaxMemory: available(cmp.Or(o.MaxMemory, defaultMemory)), MaxCPU: o.MaxCPU, MaxFileSize: maxScratch,
	}
	go p.prepare(ctx, setup{Sandbox: p.bounds, Rules: o.Rules})
	return p, nil
}

// available is how much of that memory a process made by this one can have.
func available(bytes int64) int64 {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &own); err != nil || own.Max > uint64(bytes) {
		return bytes
	}
	return int64(own.Max)
}

func (p *Process) spawn(ctx context.Context) error {
	here, there, err := newSocket()
	if err != nil {
		return err
	}
	defer there.Close()
	if p.cmd, err = sandbox.Command(ctx, sandbox.CommandOptions{Name: processName, Files: []*os.File{there}}); err != nil {
		return errors.Join(err, here.Close())
	}
	p.cmd.Stderr = p.words
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // it dies with the thread that made it: https://go.dev/issue/27505
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.death = p.cmd.Wait()
			close(p.exited)
		}
	}()
	p.socket = here
	if err := <-started; err != nil {
		return errors.Join(err, here.Close())
	}
	return nil
}

// prepare has the parser confine itself.
func (p *Process) prepare(ctx context.Context, s setup) {
	defer close(p.ready)
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("it does not get ready"))
	defer cancel()
	answer, err := p.ask(ctx, request{Do: doSetup, Body: true}, s, nil)
	if err == nil {
		err = json.Unmarshal(answer.body, &p.status)
	}
	if err != nil {
		p.refuse = fmt.Errorf("the process that reads the image: %w", err)
	}
}

// Status waits until the parser is confined and tells how.
func (p *Process) Status(ctx context.Context) (sandbox.Status, error) {
	select {
	case <-p.ready:
		return p.status, p.refuse
	case <-ctx.Done():
		return sandbox.Status{}, context.Cause(ctx)
	}
}

// Close ends the parser and removes what it worked with.
func (p *Process) Close() error {
	p.socket.Close()
	p.cmd.Process.Kill() // it may be deep in a layer; nothing of it is needed any more
	<-p.exited
	return os.RemoveAll(p.scratch)
}

// ServeIfChild must be the first thing main does. In a process that Start made
// it does that process's work and exits; in any other it returns at once.
func ServeIfChild() {
	if len(os.Args) == 1 && os.Args[0] == processName {
		os.Exit(serveHere())
	}
}

const (
	// processName is the parser's whole argument list.
	processName = "imagewright-scan-parser"
	socketFD    = 3 // the first that is inherited
)

// serveHere is the life of a parser.
func serveHere() int {
	err := func() error {
		s, err := openSocket(os.NewFile(socketFD, "parser"))
		if err != nil {
			return err
		}
		defer s.Close()
		x, err := begin(s)
		if err != nil {
			return err
		}
		return x.serveAll(s)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "imagewright-scan:", err)
		return fault.ExitFailed
	}
	return 0
}

// begin takes the first request, the setup, and confines this process before
// anything else is read.
func begin(s *socket) (*reader, error) {
	req, files, err := s.receive()
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	if req.Do != doSetup || len(files) != 2 {
		return nil, fmt.Errorf("request %q comes before the setup", req.Do)
	}
	x, status, err := enter(files[1])
	body, encodeErr := json.Marshal(status)
	return x, errors.Join(answer(files[0], result{body: body}, cmp.Or(err, encodeErr)), err)
}

func enter(document *os.File) (*reader, sandbox.Status, error) {
	var s setup
	data, err := readAll(document)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return nil, sandbox.Status{}, err
	}
	steal, err := plantThief()
	if err != nil {
		return nil, sandbox.Status{}, err
	}
	status, err := sandbox.Enter(s.Sandbox)
	if err == nil && status.Off {
		err = os.Setenv("TMPDIR", s.Sandbox.ScratchDir) // as Enter does
	}
	if err == nil {
		err = steal(context.Background())
	}
	if err != nil {
		return nil, status, err
	}
	quiet()
	debug.SetMaxStack(maxStack)
	x, err := newReader(s.Rules)
	return x, status, err
}

// serveAll answers until the other process has closed its end.
func (x *reader) serveAll(s *socket) error {
	for {
		req, files, err := s.receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		go x.serve(context.Background(), req, files)
	}
}

// duplicate returns f as a file of its own, called name.
func duplicate(f *os.File, name string) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// quiet: Trivy's packages log to slog's default logger. What they tell is in the
// answers; and nobody listens here.
func quiet() { slog.SetDefault(slog.New(slog.DiscardHandler)) }
