// Package buildkit is a BuildKit to build with: the real one, inside this
// program. [Start] runs the program a second time as the engine, in a mount and
// a PID namespace of its own, so that nothing of a build outlives the process
// that wanted it, and returns BuildKit's own client for it.
//
// Two things differ from a stock buildkitd, both so that the same commit gives
// the same digest whatever the state already holds: layers get a constant
// modification time as they are made (differ.go), and the dates in an image's
// config come from the build alone (dates.go).
package buildkit

import (
	"errors"
	"io"
	"log/slog"
)

// Options say where the engine keeps its state and how it reaches registries.
type Options struct {
	// StateDir holds the engine's caches; it is made when missing (0700) and
	// locked while an engine runs. Required.
	StateDir string

	// RuntimeBinary is the runc, or crun since 1.15, to run steps with. Empty:
	// the first of runc, buildkit-runc and crun that is on PATH, beside this
	// executable, or in bin/ beside it. Never one of the working directory.
	RuntimeBinary string

	// PlainHTTP names registries (host or host:port) spoken to without TLS.
	// Loopback is always.
	PlainHTTP []string

	// CABundle is a PEM file of certificates trusted beside the system's.
	CABundle string

	// MaxSize is what the state may hold in bytes; older caches go first, at
	// start. 0 leaves it to BuildKit, which looks at the size of the disk.
	MaxSize int64

	// Wait is told once who holds the state when another process does; Start
	// then waits until it is free or its context ends. nil: a line in Log.
	Wait func(holder string)

	// Environ is the environment the engine's is taken from, NAME=value, later
	// ones winning. Only PATH, the proxy variables and the system's certificate
	// variables are. nil: that of this process.
	Environ []string

	// Log gets the engine's own log, at debug level. nil: nowhere.
	Log *slog.Logger

	// Stderr gets the end of the engine's log when it dies before its time.
	// nil: nowhere.
	Stderr io.Writer

	snapshotter string // tests compare them; "" takes the best there is
}

// Errors of Start, for errors.Is. What is returned says more, and has a hint.
var (
	// ErrNoRuntime is returned when there is neither runc nor crun.
	ErrNoRuntime = errors.New("no OCI runtime found")

	// ErrNotRoot is returned when this process may not make the namespaces and
	// mounts a build needs.
	ErrNotRoot = errors.New("BuildKit needs root")

	// ErrStateLocked is returned when the context ended while another process
	// held the state.
	ErrStateLocked = errors.New("state is in use")
)
