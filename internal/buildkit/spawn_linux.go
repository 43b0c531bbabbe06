package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/imagewright/imagewright/internal/buildkit/userns"
	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

// child is an engine that this process started.
type child struct {
	process *os.Process
	exited  chan struct{} // closed when it is gone
	err     error         // how it went; read after exited
}

// launch starts an engine on w's state, which lock locks, and waits until it is
// ready. It leaves no process behind on error; the lock is the caller's.
func launch(ctx context.Context, w wish, lock *os.File) (*hold, error) {
	files, err := w.certificates()
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	h, err := launchOnce(ctx, w, lock, files)
	if errors.Is(err, userns.ErrMaskedProc) {
		w.HostPIDs = true
		h, err = launchOnce(ctx, w, lock, files)
	}
	return h, err
}

func launchOnce(ctx context.Context, w wish, lock *os.File, files []*os.File) (h *hold, err error) {
	written, read, err := createLog(w.Root)
	if err != nil {
		return nil, err
	}
	defer written.Close()
	// A user namespace's first process dies with the thread that made it, until it
	// is the engine. https://go.dev/issue/27505
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h = &hold{log: &journal{file: read}, root: w.Root, fresh: true}
	if h.link, h.child, err = spawn(ctx, w, lock, written); err != nil {
		read.Close()
		return nil, err
	}
	h.pid = h.child.process.Pid
	if err := h.hello(ctx, w.setup, files); err != nil {
		h.link.Close()
		h.child.process.Kill()
		<-h.child.exited
		defer read.Close()
		if ctx.Err() != nil {
			return nil, err // it is not the engine's fault
		}
		return nil, &deathbed{err, h.log.tail()}
	}
	return h, nil
}

// deathbed is an engine that did not get ready, and its last words.
type deathbed struct {
	err   error
	words string
}

// Error implements error.
func (d *deathbed) Error() string { return d.err.Error() }

// Unwrap returns why.
func (d *deathbed) Unwrap() error { return d.err }

// fullDisk is what an engine says for whose state there is no room.
type fullDisk string

// Error implements error.
func (f fullDisk) Error() string { return string(f) }

// Unwrap returns what the kernel said to the engine.
func (f fullDisk) Unwrap() error { return unix.ENOSPC }

// hello sets the engine up and waits for its answer.
func (h *hold) hello(ctx context.Context, s setup, files []*os.File) error {
	if err := h.link.send(s, asConns(files)...); err != nil && !errors.Is(err, unix.EPIPE) {
		return err
	}
	more, err := h.link.receive(ctx, &h.answer)
	closeAll(more) // the log, which is open already
	switch {
	case errors.Is(err, io.EOF):
		<-h.child.exited // a crash: the log has more
		return fault.Failed(fmt.Errorf("the engine died: %w", h.child.err), stateHint(s.Root))
	case err != nil:
		return err
	case h.answer.Full:
		return fullDisk(h.answer.Error)
	case h.answer.Error != "":
		return fault.Failed(errors.New(h.answer.Error), h.answer.Hint)
	}
	return nil
}

// spawn runs this program again as the engine. It outlives this process, if
// others hold a link to it then.
func spawn(ctx context.Context, w wish, lock, log *os.File) (*link, *child, error) {
	l, there, err := newLink()
	if err != nil {
		return nil, nil, err
	}
	defer there.Close()
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe", // this very file, even when its name has gone to another
		Args:       []string{engineName},
		Dir:        w.Root, // the checkout is nothing of its
		Stderr:     log,
		ExtraFiles: []*os.File{there, lock}, // linkFD, lockFD
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:       true, // a Ctrl-C is for the programs, and the last of them ends the engine
			Cloneflags:   unix.CLONE_NEWPID,
			Unshareflags: unix.CLONE_NEWNS, // Go makes every mount private then
		},
	}
	for _, name := range slices.Sorted(maps.Keys(w.env)) {
		cmd.Env = append(cmd.Env, name+"="+w.env[name])
	}
	if err := begin(ctx, w.setup, cmd); err != nil {
		l.Close()
		return nil, nil, err
	}
	c := &child{process: cmd.Process, exited: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	return l, c, nil
}

// begin starts cmd, in a user namespace if need be.
func begin(ctx context.Context, s setup, cmd *exec.Cmd) error {
	if s.HostPIDs {
		cmd.SysProcAttr.Cloneflags = 0
	}
	if s.Rootless {
		if err := userns.Start(ctx, cmd); err != nil {
			return &unfit{Rootless, err}
		}
		return nil
	}
	err := cmd.Start()
	if errors.Is(err, unix.EPERM) { // a seccomp filter: the capability is there
		return &unfit{Root, fmt.Errorf("make namespaces: %w", err)}
	}
	return err
}

// createLog makes the engine's log, once to append to and once to read.
func createLog(root string) (written, read *os.File, err error) {
	path := filepath.Join(root, logName)
	const flags = os.O_CREATE | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW
	if written, err = os.OpenFile(path, flags, 0o600); err != nil {
		return nil, nil, err
	}
	if read, err = os.Open(path); err != nil {
		written.Close()
		return nil, nil, err
	}
	return written, read, nil
}
