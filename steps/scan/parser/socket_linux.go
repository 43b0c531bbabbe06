package parser

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxFiles bounds the descriptors that come with a message.
const maxFiles = 3

// socket is one end of the connection between the two processes: messages, and
// descriptors with them.
type socket struct{ conn *net.UnixConn }

// newSocket returns a pair: one end for here, the other as a file to inherit.
func newSocket() (*socket, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	here, there := os.NewFile(uintptr(fds[0]), "parser"), os.NewFile(uintptr(fds[1]), "parser")
	s, err := openSocket(here)
	if err != nil {
		there.Close()
		return nil, nil, err
	}
	return s, there, nil
}

// openSocket takes over f, one end of a connection.
func openSocket(f *os.File) (*socket, error) {
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
	return &socket{u}, nil
}

// send sends a request and copies of files.
func (s *socket) send(r request, files []*os.File) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(b) > maxRequest {
		return fmt.Errorf("request of %d bytes is larger than %d", len(b), maxRequest)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	_, _, err = s.conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	return err
}

// receive returns the next request and what came with it. The end of the other
// process is io.EOF.
func (s *socket) receive() (r request, files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	b, oob := make([]byte, maxRequest), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := s.conn.ReadMsgUnix(b, oob)
	switch {
	case errors.Is(err, unix.ECONNRESET), err == nil && n == 0: // SEQPACKET reads an end as nothing
		return r, nil, io.EOF
	case err != nil:
		return r, nil, err
	}
	if files, err = received(oob[:oobn]); err != nil {
		return r, files, err
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return r, files, errors.New("a request was cut off")
	}
	return r, files, json.Unmarshal(b[:n], &r)
}

// received returns the files in a message's control data.
func received(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// Close closes this end.
func (s *socket) Close() error { return s.conn.Close() }
