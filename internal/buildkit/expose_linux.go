package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Serve hands every connection that listener accepts to the engine: BuildKit's
// API, for buildctl, docker buildx's remote driver and other clients, with
// gRPC's health service and reflection. It closes listener and returns the cause
// when ctx ends, net.ErrClosed after Close, which cuts off what connected through
// it, and another error when the engine dies.
//
// Who can connect can do what the engine's user can: there is no log-in.
func (e *Engine) Serve(ctx context.Context, listener net.Listener) error {
	defer listener.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-e.gone:
			if isClosed(e.others) || isClosed(e.last) {
				cancel(net.ErrClosed)
			}
			cancel(errors.New("the BuildKit engine died")) // the first cause counts
		case <-ctx.Done():
		}
		listener.Close()
	}()
	for {
		conn, err := listener.Accept()
		if err == nil {
			err = e.pass(conn)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("serve %s: %w", listener.Addr(), err)
		}
	}
}

// pass hands conn to the engine.
func (e *Engine) pass(conn net.Conn) error {
	defer conn.Close() // the engine has its own
	c, ok := conn.(syscall.Conn)
	if !ok {
		return fmt.Errorf("%T has no descriptor", conn)
	}
	if err := e.link.give(connection, c); err != nil {
		return fmt.Errorf("connect to the engine: %w", err)
	}
	return nil
}
