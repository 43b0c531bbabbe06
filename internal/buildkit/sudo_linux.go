package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
)

const (
	// brokerName is the first argument of the broker, the part of this program
	// that runs under sudo for a moment; the second is the directory it meets the
	// program in.
	brokerName = "imagewright-buildkit-broker"

	brokerSocket = "broker.sock"
)

// request is what the program tells its broker: all there is, as sudo passes no
// environment on. Certificates come with it, as files.
type request struct {
	Setup setup
	Env   map[string]string
}

// report is what the broker tells the program: who is in the way, any number of
// times; then what went wrong, or the engine's answer, with the link and the log
// as files.
type report struct {
	Waiting string

	Error string
	Hint  string
	Words string // the engine's last
	Unfit bool   // this root is not root enough

	Answer answer
	Root   string
	Fresh  bool
	PID    int
}

// acquireBySudo has a broker acquire an engine as root. The link that it hands
// over is this program's own: the broker ends, and nothing of this program ever
// runs as root.
//
// sudo closes descriptors, empties the environment and may put a terminal
// between, so the two meet at a socket in a directory of this user's.
func acquireBySudo(ctx context.Context, w wish, tell func(holder string)) (*hold, error) {
	executable, err := ownPath()
	if err != nil {
		return nil, &unfit{Sudo, err}
	}
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return nil, &unfit{Sudo, errors.New("there is no sudo on PATH")}
	}
	dir, err := os.MkdirTemp("", "imagewright-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	socket, err := listenSocket(dir, brokerSocket)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	var said limitedBuffer
	cmd := exec.Command(sudo, "-n", "--", executable, brokerName, dir)
	cmd.Env = sudoEnviron()
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, &unfit{Sudo, err}
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		socket.Close() // nobody comes any more
	}()
	h, err := meetBroker(ctx, socket, w, tell)
	if errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
		gone := <-ended
		return nil, &unfit{Sudo, sudoRefused(said.Bytes(), gone)}
	}
	return h, err
}

// ownPath is a path that sudo can run this very program by.
func ownPath() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	there, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	here, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	if !os.SameFile(there, here) {
		return "", fmt.Errorf("%s is another program by now", path)
	}
	return path, nil
}

// meetBroker waits for the broker and for what it brings. It hangs up when ctx
// ends, and the broker gives up: sudo cannot be killed by its user. The error is
// net.ErrClosed when nobody came.
func meetBroker(ctx context.Context, socket *net.UnixListener, w wish, tell func(holder string)) (*hold, error) {
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	conn, err := socket.Accept()
	if stop(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	l := &link{conn.(*net.UnixConn)}
	defer l.Close()
	if creds, err := l.peer(); err != nil || creds.Uid != 0 {
		return nil, errors.Join(errors.New("the broker that came is not root's"), err)
	}
	certificates, err := w.certificates()
	if err != nil {
		return nil, err
	}
	defer closeAll(certificates)
	if err := l.send(request{w.setup, w.env}, asConns(certificates)...); err != nil {
		return nil, fmt.Errorf("speak to the broker: %w", err)
	}
	return hearBroker(ctx, l, w.Root, tell)
}

func hearBroker(ctx context.Context, l *link, root string, tell func(holder string)) (*hold, error) {
	for holder := ""; ; {
		var r report
		files, err := l.receive(ctx, &r)
		switch {
		case ctx.Err() != nil && holder != "":
			return nil, stateLocked(ctx, root, holder)
		case errors.Is(err, io.EOF):
			return nil, errors.New("the broker under sudo died")
		case err != nil:
			return nil, fmt.Errorf("hear from the broker: %w", err)
		case r.Waiting != "":
			closeAll(files)
			holder = ci.Printable(r.Waiting)
			tell(holder)
		case r.Unfit:
			closeAll(files)
			return nil, &unfit{Sudo, errors.New(r.Error)}
		case r.Error != "":
			closeAll(files)
			return nil, &deathbed{fault.Failed(errors.New(r.Error), r.Hint), r.Words}
		default:
			return r.unpack(files)
		}
	}
}

// unpack makes a hold of what the broker brought.
func (r *report) unpack(files []*os.File) (*hold, error) {
	if len(files) != 2 {
		closeAll(files)
		return nil, fmt.Errorf("the broker's report came with %d files", len(files))
	}
	l, err := openLink(files[0])
	if err != nil {
		files[1].Close()
		return nil, err
	}
	whence := io.SeekEnd
	if r.Fresh {
		whence = io.SeekStart
	}
	log, err := newJournal(files[1], whence)
	return &hold{link: l, answer: r.Answer, log: log, root: r.Root, fresh: r.Fresh, pid: r.PID}, err
}

func asConns(files []*os.File) []syscall.Conn {
	conns := make([]syscall.Conn, len(files))
	for i, f := range files {
		conns[i] = f
	}
	return conns
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxTail-b.Len()))])
	return len(p), nil
}
