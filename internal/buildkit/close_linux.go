package buildkit

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/moby/buildkit/client"
)

// closeTimeout bounds an engine's orderly end: running steps are killed,
// databases closed. It takes 4 to 80 ms unless something hangs.
const closeTimeout = 10 * time.Second

// Client returns BuildKit's client for this engine. It ends with Close.
func (e *Engine) Client() *client.Client { return e.client }

// Snapshotter returns how layers are kept: "overlayfs", or "native" (copies)
// where the state directory's file system cannot be an overlay's.
func (e *Engine) Snapshotter() string { return e.snapshotter }

// Close ends the engine and frees its state. Builds that still run are killed.
// It takes at most ten seconds, and returns an error when the engine had died
// before or had to be killed. Further calls return what the first did.
func (e *Engine) Close() error {
	e.closing.Do(func() { e.closeErr = e.end() })
	return e.closeErr
}

func (e *Engine) end() error {
	select {
	case <-e.exited:
		e.stop(0)
		if e.exitErr == nil {
			return e.died(errors.New("the BuildKit engine ended without being told to"))
		}
		return e.died(fmt.Errorf("the BuildKit engine died: %w", e.exitErr))
	default:
	}
	orderly := e.stop(closeTimeout)
	if orderly && e.exitErr == nil {
		return nil
	}
	if orderly {
		return e.died(fmt.Errorf("the BuildKit engine ended badly: %w", e.exitErr))
	}
	return e.died(fmt.Errorf("the BuildKit engine did not stop within %s and was killed", closeTimeout))
}

// stop ends the process, in order if it does so within patience, and frees what
// this side holds. It reports whether the process went by itself.
func (e *Engine) stop(patience time.Duration) (orderly bool) {
	if e.client != nil {
		e.client.Close()
	}
	e.link.Close() // the engine reads the end of the stream
	select {
	case <-e.exited:
		orderly = true
	case <-time.After(patience):
		e.process.Kill()
		<-e.exited
	}
	e.lock.Close()
	return orderly
}

// moduleVersion returns the version of the BuildKit module linked into this
// program, "unknown" where Go did not record it.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/moby/buildkit" {
				return m.Version
			}
		}
	}
	return "unknown"
}
