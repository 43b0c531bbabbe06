package buildkit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/buildkit/client"
)

const (
	// stopTimeout bounds an engine's orderly end: running steps are killed,
	// databases closed. It takes 4 to 80 ms unless something hangs; then the
	// engine kills itself and all below it.
	stopTimeout = 8 * time.Second

	// closeTimeout is how long a program waits for that.
	closeTimeout = 10 * time.Second
)

// Client returns BuildKit's client for this engine. It ends with Close.
func (e *Engine) Client() *client.Client { return e.client }

// Snapshotter returns how layers are kept: "overlayfs", "fuse-overlayfs", or
// "native" (copies) where the state directory's file system can be neither's.
func (e *Engine) Snapshotter() string { return e.answer.Snapshotter }

// Mode returns where the engine's rights come from: Root, Sudo or Rootless.
func (e *Engine) Mode() string { return e.mode }

// Joined reports whether another program started the engine.
func (e *Engine) Joined() bool { return !e.fresh }

// StateDir returns where the engine keeps its state.
func (e *Engine) StateDir() string { return e.root }

// Close ends this program's builds, and the engine when no other program uses
// it. It takes at most ten seconds, and returns an error when the engine had
// died before or had to be killed. Further calls return what the first did.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		if e.closeErr = e.end(); e.closeErr != nil {
			e.options.lastWords(e.log.tail())
		}
		e.unfollow()
		e.drop()
	})
	return e.closeErr
}

func (e *Engine) end() error {
	if e.client != nil {
		e.client.Close()
	}
	e.link.hangUp() // the engine reads the end of the stream
	timeout := time.After(closeTimeout)
	select {
	case <-e.others:
		return nil
	case <-e.gone:
		if isClosed(e.others) {
			return nil
		}
	case <-timeout:
		return e.kill()
	}
	if e.child != nil {
		<-e.exited // it has closed its end: what is left is a moment
	}
	switch {
	case e.bye.Done && e.bye.Error == "":
		return nil
	case e.bye.Done:
		return fmt.Errorf("the BuildKit engine ended badly: %s", e.bye.Error)
	case e.child != nil && e.child.err != nil:
		return fmt.Errorf("the BuildKit engine died: %w", e.child.err)
	}
	return errors.New("the BuildKit engine died")
}

// kill kills an engine that should have ended, unless others may use it.
func (e *Engine) kill() error {
	if !isClosed(e.last) {
		return fmt.Errorf("the BuildKit engine did not answer within %s", closeTimeout)
	}
	if e.options.Private {
		return nil // it still removes its state, or else it would have killed itself
	}
	var err error
	if e.process != nil {
		err = e.process.Kill()
	}
	select {
	case <-e.exited:
		return fmt.Errorf("the BuildKit engine did not stop within %s and was killed", closeTimeout)
	case <-time.After(time.Second): // another user's cannot be killed; it kills itself
		return errors.Join(fmt.Errorf("the BuildKit engine did not stop within %s", closeTimeout), err)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// parting is what the engine says when this program leaves.
type parting struct {
	others chan struct{} // closed: others use the engine, it stays
	last   chan struct{} // closed: nobody else does, it ends
	gone   chan struct{} // closed: its end of the link is
	bye    *notice       // how it ended; read after gone
}

func newParting() parting {
	return parting{make(chan struct{}), make(chan struct{}), make(chan struct{}), &notice{}}
}

// hear hears the engine out.
func (p parting) hear(l *link) {
	defer close(p.gone)
	for said := false; ; {
		var n notice
		if _, err := l.receive(context.Background(), &n); err != nil {
			return
		}
		switch {
		case n.Done:
			*p.bye = n
		case said:
		case n.Last:
			said = true
			close(p.last)
		default:
			said = true
			close(p.others)
		}
	}
}
