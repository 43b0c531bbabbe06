package remote

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// farewell is how long a command may take to end when its connection is
	// closed, before it is killed.
	farewell = 2 * time.Second

	maxComplaint = 4 << 10 // bytes of a command's standard error that are kept
)

// command is a program whose standard input and output lead to a BuildKit.
//
// BuildKit's own helpers for ssh and kubectl do the same over docker/cli's; they
// let ssh ask for passwords, and hand a socket's path to the far shell unread.
type command struct {
	path    string
	args    []string
	environ []string
}

// command returns what leads to a; the program must be there.
func (a Address) command(environ []string) (*command, error) {
	name, args := "ssh", a.sshArguments()
	if a.scheme == "kube-pod" {
		name, args = "kubectl", a.kubectlArguments()
	}
	path := lookPath(name, environ)
	if path == "" {
		return nil, &missingProgram{name, a.scheme}
	}
	return &command{path, args, withoutInputs(environ)}, nil
}

// sshArguments never let ssh ask anything, nor lend our agent to the builder's
// machine: a build's keys go through BuildKit's session.
func (a Address) sshArguments() []string {
	args := []string{"-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=30"}
	if a.user != "" {
		args = append(args, "-l", a.user)
	}
	if a.port != "" {
		args = append(args, "-p", a.port)
	}
	args = append(args, "--", a.host, "buildctl")
	if a.socket != "" {
		args = append(args, "--addr", "unix://"+a.socket)
	}
	return append(args, "dial-stdio")
}

func (a Address) kubectlArguments() []string {
	var args []string
	for _, option := range []struct{ name, value string }{{"context", a.context}, {"namespace", a.namespace}} {
		if option.value != "" {
			args = append(args, "--"+option.name+"="+option.value)
		}
	}
	args = append(args, "exec", "-i")
	if a.container != "" {
		args = append(args, "--container="+a.container)
	}
	return append(args, a.pod, "--", "buildctl", "dial-stdio")
}

// lookPath finds a program in the PATH of environ, or returns "". A relative
// entry does not count: it would be one of the checkout.
func lookPath(name string, environ []string) string {
	list := ""
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			list = value
		}
	}
	for _, dir := range filepath.SplitList(list) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// withoutInputs is environ without the variables that hold inputs of steps,
// tokens among them.
func withoutInputs(environ []string) []string {
	out := []string{} // not nil: that would be all of this process's
	for _, entry := range environ {
		if !strings.HasPrefix(entry, "IMAGEWRIGHT_") && !strings.HasPrefix(entry, "INPUT_") && !strings.HasPrefix(entry, "PLUGIN_") {
			out = append(out, entry)
		}
	}
	return out
}

// start runs the command and returns the connection that leads through it: one
// end of a socket pair, the command's standard input and output being the other.
func (c *command) start(seen *trouble) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	here, there := os.NewFile(uintptr(fds[0]), c.path), os.NewFile(uintptr(fds[1]), c.path)
	defer here.Close() // FileConn works on a copy
	defer there.Close()
	conn, err := net.FileConn(here)
	if err != nil {
		return nil, err
	}
	through := &throughCommand{Conn: conn, seen: seen, exited: make(chan struct{})}
	through.process = &exec.Cmd{
		Path: c.path, Args: append([]string{filepath.Base(c.path)}, c.args...), Env: c.environ,
		Stdin: there, Stdout: there, Stderr: &through.complaint,
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:    true, // no terminal to ask on, and a Ctrl-C is for us
			Pdeathsig: syscall.SIGKILL,
		},
		WaitDelay: time.Second, // for a grandchild that holds standard error
	}
	started := make(chan error)
	go through.run(started)
	if err := <-started; err != nil {
		conn.Close()
		return nil, err
	}
	return through, nil
}

// throughCommand is a connection that a command carries.
type throughCommand struct {
	net.Conn
	process   *exec.Cmd
	complaint complaint
	seen      *trouble
	exited    chan struct{} // closed when the command is gone
	killed    atomic.Bool   // by us
	closed    sync.Once
}

// run runs the command to its end. Pdeathsig is about the thread that started
// the command, not the process: it is kept. https://go.dev/issue/27505
func (t *throughCommand) run(started chan<- error) {
	runtime.LockOSThread()
	err := t.process.Start()
	started <- err
	if err != nil {
		return
	}
	if err := t.process.Wait(); err != nil && !t.killed.Load() {
		t.seen.note(&commandFailed{t.process.Args, err, t.complaint.String()})
	}
	close(t.exited)
}

// Read implements net.Conn. At the end it waits a moment for what the command
// says of it.
func (t *throughCommand) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if err == io.EOF {
		select {
		case <-t.exited:
		case <-time.After(farewell):
		}
	}
	return n, err
}

// Close closes the connection, and returns when the command has ended.
func (t *throughCommand) Close() error {
	err := net.ErrClosed
	t.closed.Do(func() {
		err = t.Conn.Close()
		for _, signal := range []syscall.Signal{0, unix.SIGTERM, unix.SIGKILL} {
			if signal != 0 {
				t.killed.Store(true)
				unix.Kill(-t.process.Process.Pid, signal) // with what it started
			}
			select {
			case <-t.exited:
				return
			case <-time.After(farewell):
			}
		}
	})
	return err
}

// complaint keeps the end of what is written to it.
type complaint struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (c *complaint) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p...)
	if over := len(c.text) - maxComplaint; over > 0 {
		c.text = append(c.text[:0], c.text[over:]...)
	}
	return len(p), nil
}

// String is the text in one line.
func (c *complaint) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(c.text)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// commandFailed is a command that ended before its connection did.
type commandFailed struct {
	args  []string
	err   error
	words string // its last
}

// Error implements error.
func (e *commandFailed) Error() string {
	if e.words == "" {
		return fmt.Sprintf("%s: %v", e.args[0], e.err)
	}
	return fmt.Sprintf("%s: %v: %s", e.args[0], e.err, e.words)
}

// Unwrap returns how it ended.
func (e *commandFailed) Unwrap() error { return e.err }

func (e *commandFailed) hint() string {
	return "buildctl must be on PATH there, and this must work by hand without a question: " + strings.Join(e.args, " ")
}

// missingProgram is a program that a scheme needs and that is not there.
type missingProgram struct{ name, scheme string }

// Error implements error.
func (e *missingProgram) Error() string {
	return fmt.Sprintf("%s:// needs %s on PATH, and it is not there", e.scheme, e.name)
}
