package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

const (
	// saidBytes is how much of what a program in a container says is kept for an
	// error.
	saidBytes = 2 << 10
	// exitTimeout is for the engine to tell how a program ended.
	exitTimeout = 5 * time.Second
)

// execConn is the standard input and output of a program that runs in a
// container, as a connection.
type execConn struct {
	net.Conn                // to the engine; what is written is the program's input
	output   *io.PipeReader // what it writes

	closing sync.Once
	done    chan struct{} // closed by Close
}

// exited is a program in a container that ended before its time.
type exited struct {
	code int
	text string // what it was, and what it said
}

// Error implements error.
func (e *exited) Error() string { return e.text }

// exec runs command in a container and returns the connection to it. Reading
// fails with *exited once it has ended.
func (e *Engine) exec(ctx context.Context, container string, command []string) (*execConn, error) {
	created, err := e.api.ExecCreate(ctx, container, client.ExecCreateOptions{
		Cmd: command, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return nil, err
	}
	attached, err := e.api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	output, to := io.Pipe()
	c := &execConn{Conn: attached.Conn, output: output, done: make(chan struct{})}
	go func() {
		var said start
		_, err := stdcopy.StdCopy(&frames{to: to, text: &said}, &said, attached.Reader)
		select {
		case <-c.done:
			err = net.ErrClosed
		default:
			if err == nil {
				err = e.ended(created.ID, command, said.text)
			}
		}
		to.CloseWithError(err)
	}()
	return c, nil
}

// ended is how a program of ours ended.
func (e *Engine) ended(exec string, command []string, said string) error {
	ctx, cancel := context.WithTimeout(context.Background(), exitTimeout)
	defer cancel()
	state, err := e.api.ExecInspect(ctx, exec, client.ExecInspectOptions{})
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s ended with exit code %d", strings.Join(command, " "), state.ExitCode)
	if said = strings.TrimSpace(said); said != "" {
		text += ": " + ci.Printable(said)
	}
	return &exited{state.ExitCode, text}
}

// Read implements net.Conn.
func (c *execConn) Read(p []byte) (int, error) { return c.output.Read(p) }

// CloseWrite ends the program's input.
func (c *execConn) CloseWrite() error {
	if half, ok := c.Conn.(client.CloseWriter); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends the connection, and with it the program's input and output.
func (c *execConn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		close(c.done)
		// The program sees the end of its input, and goes; the engine would not
		// tell it that its output is gone.
		err = errors.Join(c.CloseWrite(), c.Conn.Close(), c.output.Close())
	})
	return err
}

// start keeps the first bytes that are written to it.
type start struct{ text string }

// Write implements io.Writer.
func (s *start) Write(p []byte) (int, error) {
	s.text += string(p[:min(len(p), saidBytes-len(s.text))])
	return len(p), nil
}

// frames lets a BuildKit's output through. When a program cannot be started, old
// engines say why on its output: that is text.
type frames struct {
	to, text io.Writer
	started  bool
}

// Write implements io.Writer.
func (f *frames) Write(p []byte) (int, error) {
	if !f.started && len(p) > 0 {
		f.started = true
		// HTTP/2 begins with a frame of settings, and a frame with its length in
		// three bytes; they are few. https://www.rfc-editor.org/rfc/rfc9113#section-4.1
		if p[0] != 0 {
			f.to = f.text
		}
	}
	return f.to.Write(p)
}
