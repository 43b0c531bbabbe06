package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxMessage bounds a message between a program and its engine, in bytes.
	maxMessage = 128 << 10

	// maxFiles bounds the descriptors that come with one.
	maxFiles = 4
)

// gift is what a program gives its engine as a descriptor.
type gift byte

const (
	connection gift = iota // one end of it
	plainPlace             // the directory for plain layers: see plainLayers
)

// link is one end of a connection between a program and its engine. In order:
// the program's setup, the engine's answer, then one message with a file
// descriptor in it for each gift of the program; when the program has closed its
// side, the engine's notices. The end of a program, however it comes,
// is the end of its link.
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

// openLink takes over f, one end of a connection.
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

// send sends v, and copies of files with it.
func (l *link) send(v any, files ...syscall.Conn) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("message of %d bytes is larger than %d", len(b), maxMessage)
	}
	return l.write(b, files)
}

// write sends b and copies of files. It holds the descriptors while it does:
// their owners may close them at any time.
func (l *link) write(b []byte, files []syscall.Conn, fds ...int) error {
	if len(files) == 0 {
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		_, _, err := l.conn.WriteMsgUnix(b, oob, nil)
		return err
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var written error
	err = raw.Control(func(fd uintptr) { written = l.write(b, files[1:], append(fds, int(fd))...) })
	return errors.Join(err, written)
}

// receive reads one message into v and returns the files that came with it; it
// gives up when ctx ends. The end of the link is io.EOF.
func (l *link) receive(ctx context.Context, v any) ([]*os.File, error) {
	stop := context.AfterFunc(ctx, func() { l.conn.SetReadDeadline(time.Now()) })
	defer stop()
	b := make([]byte, maxMessage+1)
	n, files, err := l.read(b)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
	case n > maxMessage:
		err = fmt.Errorf("message is larger than %d bytes", maxMessage)
	default:
		err = json.Unmarshal(b[:n], v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// read reads one message.
func (l *link) read(b []byte) (int, []*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := l.conn.ReadMsgUnix(b, oob)
	if err != nil {
		if errors.Is(err, unix.ECONNRESET) {
			err = io.EOF // it went with something of ours unread
		}
		return 0, nil, err
	}
	if n == 0 {
		return 0, nil, io.EOF // the other end is closed: SEQPACKET reads that as nothing
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeAll(files)
			return 0, nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return n, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// dial makes a connection to the engine: it sends one end of a new pair.
func (l *link) dial() (net.Conn, error) {
	here, there, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer here.Close()
	defer there.Close()
	if err := l.give(connection, there); err != nil {
		return nil, fmt.Errorf("connect to the engine: %w", err)
	}
	return net.FileConn(here)
}

// give gives the engine a copy of c.
func (l *link) give(what gift, c syscall.Conn) error {
	return l.write([]byte{byte(what)}, []syscall.Conn{c})
}

// take is the other end of a give. It returns io.EOF when the program has closed
// its end or is gone.
func (l *link) take() (gift, *os.File, error) {
	b := make([]byte, 1)
	_, files, err := l.read(b)
	if err != nil {
		return 0, nil, err
	}
	if len(files) != 1 {
		closeAll(files)
		return 0, nil, fmt.Errorf("gift of %d descriptors", len(files))
	}
	return gift(b[0]), files[0], nil
}

// peer returns who is at the other end, as seen from here: for a link by name,
// who listened. The process is 0 when it is in another container.
func (l *link) peer() (*unix.Ucred, error) {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var creds *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		creds, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return creds, os.NewSyscallError("getsockopt", failed)
}

// hangUp tells the other end that nothing more comes from here.
func (l *link) hangUp() error { return l.conn.CloseWrite() }

// Close closes this end.
func (l *link) Close() error { return l.conn.Close() }
