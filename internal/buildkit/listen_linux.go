package buildkit

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	addressHint = "unix:///run/buildkit.sock is for this user, tcp://127.0.0.1:1234 for everybody on this machine"
	tunnelHint  = "listen on 127.0.0.1 and reach it through ssh -L 1234:127.0.0.1:1234 HOST; who can connect is root of this builder"

	knockTimeout = 2 * time.Second // for a server that may be there already to answer
)

// Listen listens on addr for Serve: unix:///PATH, a socket for this user alone
// in a directory that exists, or tcp://HOST:PORT with an address of this
// machine's loopback. A socket that a dead server left is replaced.
func Listen(addr string) (net.Listener, error) {
	l, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	return l, nil
}

func listen(addr string) (net.Listener, error) {
	scheme, rest, ok := strings.Cut(addr, "://")
	switch {
	case ok && scheme == "unix" && filepath.IsAbs(rest):
		return listenUnix(filepath.Clean(rest))
	case ok && scheme == "tcp":
		return listenLoopback(rest)
	}
	return nil, fault.Usage(errors.New("it is neither unix:///PATH nor tcp://ADDRESS:PORT"), addressHint)
}

func listenLoopback(hostport string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return nil, fault.Usage(err, addressHint)
	}
	if !at.Addr().IsLoopback() {
		return nil, fault.Usage(errors.New("the address is not of this machine's loopback, and BuildKit asks nobody for a password"), tunnelHint)
	}
	return net.Listen("tcp", at.String())
}

func listenUnix(path string) (net.Listener, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case fi.Mode().Type() != fs.ModeSocket:
		return nil, fault.Usage(errors.New("there is a file of that name, and it is no socket"), addressHint)
	default:
		conn, err := net.DialTimeout("unix", path, knockTimeout)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fault.Failed(errors.Join(errors.New("a server listens there already"), err), "stop it, or take another path")
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of a server that is gone: %w", err)
		}
	}
	return listenForUser(path)
}

// listenForUser makes the socket where nobody else can reach it before it has
// its mode.
func listenForUser(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".listen-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d, hidden, err := socketPath(dir, "s")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(hidden, 0o600), os.Rename(hidden, path)); err != nil {
		l.Close()
		return nil, err
	}
	return &namedListener{l, path}, nil
}

// namedListener removes its socket when it is closed.
type namedListener struct {
	*net.UnixListener
	path string
}

// Close implements net.Listener.
func (l *namedListener) Close() error {
	err := l.UnixListener.Close()
	if err == nil {
		err = os.Remove(l.path)
	}
	return err
}

// Addr implements net.Listener.
func (l *namedListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
