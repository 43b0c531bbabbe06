//go:build thief && linux

package household

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// metadataAddress is where clouds tell a machine its credentials.
const metadataAddress = "169.254.169.254"

// bringUp starts the loopback network of the namespace and adds an address.
func bringUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	alias, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := alias.SetInet4Addr(net.ParseIP(metadataAddress).To4()); err != nil {
		return err
	}
	for _, request := range []struct {
		number uintptr
		ifreq  *unix.Ifreq
	}{{unix.SIOCSIFFLAGS, loopback}, {unix.SIOCSIFADDR, alias}} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request.number, uintptr(unsafe.Pointer(request.ifreq))); errno != 0 {
			return errno
		}
	}
	return nil
}

// serve starts servers that answer whatever they are told with the loot.
func (h *Household) serve() error {
	h.Scene.Abstract, h.Scene.Agent, h.Scene.Docker = "@household", "/run/user/agent.sock", "/run/docker.sock"
	if err := os.MkdirAll(filepath.Dir(h.Scene.Agent), 0o755); err != nil {
		return err
	}
	var errs []error
	for _, s := range []struct {
		network, address string
		at               *string
	}{
		{"tcp", "127.0.0.1:0", &h.Scene.TCP},
		{"tcp6", "[::1]:0", &h.Scene.TCP6},
		{"tcp", metadataAddress + ":80", &h.Scene.Metadata},
		{"unix", h.Scene.Abstract, nil},
		{"unix", h.Scene.Agent, nil},
		{"unix", h.Scene.Docker, nil},
	} {
		address, err := h.stream(s.network, s.address)
		errs = append(errs, err)
		if s.at != nil && err == nil {
			*s.at = address
		}
	}
	for _, at := range []*string{&h.Scene.UDP, &h.Scene.Resolver} {
		address, err := h.packets()
		errs = append(errs, err)
		*at = address
	}
	return errors.Join(append(errs, os.Chown(h.Scene.Agent, h.owner, h.owner), os.Chown(h.Scene.Docker, h.owner, h.owner))...)
}

func (h *Household) stream(network, address string) (string, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return "", err
	}
	h.closed = append(h.closed, l.Close)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 1)); err == nil {
					io.WriteString(conn, h.Canary) // or the other end has gone
				}
			}()
		}
	}()
	return l.Addr().String(), nil
}

func (h *Household) packets() (string, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	h.closed = append(h.closed, c.Close)
	go func() {
		for {
			_, from, err := c.ReadFrom(make([]byte, 1<<10))
			if err != nil {
				return // closed
			}
			c.WriteTo([]byte(h.Canary), from)
		}
	}()
	return c.LocalAddr().String(), nil
}

// otherNetwork gives a second network namespace a path.
func (h *Household) otherNetwork() error {
	h.Scene.OtherNet = "/run/netns-other"
	if err := os.WriteFile(h.Scene.OtherNet, nil, 0o644); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare: %w", err)
			return
		}
		done <- unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), h.Scene.OtherNet, "", unix.MS_BIND, "")
	}()
	return <-done
}
