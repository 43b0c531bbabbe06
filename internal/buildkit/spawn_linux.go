package buildkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

// spawn runs this program again as the engine and returns the engine's end of
// the link, to be closed here.
func (e *Engine) spawn(env map[string]string) (*os.File, error) {
	l, there, err := newLink()
	if err != nil {
		return nil, err
	}
	e.link = l
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe", // this very file, even when its name has gone to another
		Args:       []string{engineName},
		Dir:        filepath.Dir(e.lock.Name()), // the state; the checkout is nothing of its
		Stderr:     e.log,
		ExtraFiles: []*os.File{there, e.lock}, // linkFD, lockFD
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:       true, // a Ctrl-C is for the program, which ends the engine in order
			Cloneflags:   unix.CLONE_NEWPID,
			Unshareflags: unix.CLONE_NEWNS, // Go makes every mount private then
			Pdeathsig:    unix.SIGKILL,
		},
		WaitDelay: time.Second,
	}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that forked, not the process: keep it.
		// https://go.dev/issue/27505
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			e.exitErr = cmd.Wait()
			close(e.exited)
		}
	}()
	if err := <-started; err != nil {
		there.Close()
		l.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, fault.Failed(fmt.Errorf("%w with CAP_SYS_ADMIN: %w", ErrNotRoot, err), rootHint)
		}
		return nil, err
	}
	e.process = cmd.Process
	return there, nil
}
