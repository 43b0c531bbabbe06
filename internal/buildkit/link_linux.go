package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds a message between the program and its engine, in bytes.
const maxMessage = 128 << 10

// link is one end of the socket pair between the program and its engine. In
// order: the program's setup, the engine's answer, then one message with a file
// descriptor in it for each connection the program makes. The end of the stream
// tells the engine to stop. There is no name in the file system that anybody
// else could connect to.
type link struct{ conn *net.UnixConn }

// newLink returns a pair: one end for here, the other as a file to inherit.
func newLink() (*link, *os.File, error) {
	here, there, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	l, err := openLink(here)
	if err != nil {
		there.Close()
		return nil, nil, err
	}
	return l, there, nil
}

// openLink takes over f, one end of a pair.
func openLink(f *os.File) (*link, error) {
	defer f.Close() // FileConn works on a copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("it is not a Unix socket")
	}
	return &link{u}, nil
}

func socketPair(kind int) (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "engine"), os.NewFile(uintptr(fds[1]), "engine"), nil
}

func (l *link) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("message of %d bytes is larger than %d", len(b), maxMessage)
	}
	_, err = l.conn.Write(b)
	return err
}

// receive reads one message into v; it gives up when ctx ends.
func (l *link) receive(ctx context.Context, v any) error {
	stop := context.AfterFunc(ctx, func() { l.conn.SetReadDeadline(time.Now()) })
	defer stop()
	b := make([]byte, maxMessage+1)
	n, err := l.conn.Read(b)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case n == 0:
		return io.EOF // the other end is closed: SEQPACKET reads that as nothing
	case n > maxMessage:
		return fmt.Errorf("message is larger than %d bytes", maxMessage)
	}
	return json.Unmarshal(b[:n], v)
}

// dial makes a connection to the engine: it sends one end of a new pair.
func (l *link) dial() (net.Conn, error) {
	here, there, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer here.Close()
	defer there.Close()
	if _, _, err := l.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(there.Fd())), nil); err != nil {
		return nil, fmt.Errorf("connect to the engine: %w", err)
	}
	return net.FileConn(here)
}

// Accept implements net.Listener: the other end of a dial. It returns io.EOF
// when the program has closed its end or is gone.
func (l *link) Accept() (net.Conn, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := l.conn.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("connection without a descriptor"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("connection without a descriptor"), err)
	}
	f := os.NewFile(uintptr(fds[0]), "connection")
	defer f.Close()
	return net.FileConn(f)
}

// Addr implements net.Listener.
func (l *link) Addr() net.Addr { return l.conn.LocalAddr() }

// Close closes this end.
func (l *link) Close() error { return l.conn.Close() }
