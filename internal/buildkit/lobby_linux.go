package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"
)

// lobby is where the engine meets its programs: those that have a link to it,
// and those that want one. To the gRPC server it is the listener that all their
// connections come from; it ends with the last link.
type lobby struct {
	setup  setup
	answer answer
	door   net.Listener // nil: nobody is let in
	conns  chan net.Conn
	ended  chan struct{}

	mu     sync.Mutex
	guests []*guest // in the order in which they came
	last   *guest   // the one whose leaving ended it
}

// guest is a program that uses the engine.
type guest struct {
	*link
	program string
	plain   atomic.Pointer[plainLayers] // nil: it gave no place for them

	mu    sync.Mutex
	conns map[net.Conn]bool // those that it gave, and that are not closed
}

func newLobby(s setup, a answer, door net.Listener) *lobby {
	return &lobby{setup: s, answer: a, door: door, conns: make(chan net.Conn), ended: make(chan struct{})}
}

// Accept implements net.Listener. It returns io.EOF when nobody uses the engine
// any more.
func (h *lobby) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.ended:
		return nil, io.EOF
	}
}

// Addr implements net.Listener.
func (h *lobby) Addr() net.Addr { return &net.UnixAddr{Name: socketName, Net: "unixpacket"} }

// Close implements net.Listener; what ends a lobby is its last guest.
func (h *lobby) Close() error { return nil }

// open lets programs in until the lobby ends.
func (h *lobby) open() {
	for h.door != nil {
		conn, err := h.door.Accept()
		if err != nil {
			return
		}
		go func() {
			l := &link{conn.(*net.UnixConn)}
			if err := h.receive(l); err != nil {
				l.Close() // it finds the engine gone, and starts its own
			}
		}()
	}
}

// receive hears a program out and lets it in, or tells it why not. One that is
// not let in may wait at the door: its link ends with the engine.
func (h *lobby) receive(l *link) error {
	creds, err := l.peer()
	if err != nil || int(creds.Uid) != os.Geteuid() {
		return errors.Join(errors.New("not this user's"), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	var s setup
	files, err := l.receive(ctx, &s)
	closeAll(files)
	if err != nil {
		return err
	}
	if differs := h.setup.differs(s); len(differs) > 0 {
		if err := l.send(answer{Differs: differs, Holder: h.holder()}); err != nil {
			return err
		}
		_, err := l.receive(context.Background(), &s)
		return err
	}
	g := h.enter(l, s.Program)
	if g == nil {
		return io.EOF
	}
	h.attend(g)
	return nil
}

// enter makes a program a guest, or returns nil when the lobby has ended. A
// guest is to be attended.
func (h *lobby) enter(l *link, program string) *guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil {
		return nil
	}
	g := &guest{link: l, program: program, conns: make(map[net.Conn]bool)}
	h.guests = append(h.guests, g)
	return g
}

// attend serves g until it leaves.
func (h *lobby) attend(g *guest) {
	defer h.leave(g)
	log, err := os.Open(logName)
	if err != nil {
		g.send(answer{Error: err.Error()})
		return
	}
	defer log.Close()
	if err := g.send(h.answer, log); err != nil {
		return // gone already
	}
	for {
		what, f, err := g.take()
		if err != nil {
			return
		}
		if what == plainPlace {
			if err := g.takePlain(f); err != nil {
				logrus.WithError(err).Info("layers will not be left uncompressed")
			}
			continue
		}
		conn, err := net.FileConn(f)
		f.Close() // FileConn works on a copy
		if err != nil {
			return
		}
		select {
		case h.conns <- g.hold(conn):
		case <-h.ended:
			conn.Close()
		}
	}
}

// leave ends g's builds and, when g was the last guest, the lobby. The last
// one's link stays open until the engine has ended.
func (h *lobby) leave(g *guest) {
	g.hangUpAll()
	if plain := g.plain.Load(); plain != nil {
		plain.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests = slices.DeleteFunc(h.guests, func(other *guest) bool { return other == g })
	last := len(h.guests) == 0
	g.send(notice{Last: last}) // who was killed doesn't hear it
	if !last {
		g.Close()
		return
	}
	h.last = g
	if h.door != nil {
		os.Remove(socketName) // the state is locked: it is ours
		h.door.Close()
	}
	close(h.ended)
}

// farewell tells the last guest how the engine ended.
func (h *lobby) farewell(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := notice{Done: true}
	if err != nil {
		n.Error = err.Error()
	}
	h.last.send(n)
}

// holder says who uses the engine.
func (h *lobby) holder() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch len(h.guests) {
	case 0:
		return "a build that ends"
	case 1:
		return h.guests[0].program
	}
	return fmt.Sprintf("%s and %d more", h.guests[0].program, len(h.guests)-1)
}

// hold keeps conn in mind until it is closed: it is not to outlive g, even where
// its other end is another program's.
func (g *guest) hold(conn net.Conn) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[conn] = true
	return &heldConn{conn, g}
}

func (g *guest) hangUpAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		conn.Close()
	}
}

type heldConn struct {
	net.Conn
	by *guest
}

// RemoteAddr implements net.Conn: what BuildKit does for a guest, it does in a
// context that has this address in it.
func (c *heldConn) RemoteAddr() net.Addr { return c.by }

// Network implements net.Addr.
func (g *guest) Network() string { return "unix" }

// String implements net.Addr.
func (g *guest) String() string { return g.program }

// Close implements net.Conn.
func (c *heldConn) Close() error {
	c.by.mu.Lock()
	delete(c.by.conns, c.Conn)
	c.by.mu.Unlock()
	return c.Conn.Close()
}
