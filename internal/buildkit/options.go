// Package buildkit is a BuildKit to build with: the real one, inside this
// program. [Start] runs the program a second time as the engine, in a mount and
// a PID namespace of its own, or joins the engine that already runs on the same
// state, and returns BuildKit's own client for it. An engine lives as long as a
// program holds a link to it: nothing of a build outlives the last process that
// wanted one.
//
// Two things differ from a stock buildkitd, both so that the same commit gives
// the same digest whatever the state already holds: layers get a constant
// modification time as they are made (differ_linux.go), and the dates in an image's
// config come from the build alone (dates_linux.go).
package buildkit

import (
	"errors"
	"io"
	"log/slog"
)

// Where the engine's rights come from: Options.Privilege and Engine.Mode.
const (
	Root     = "root"     // this program's own
	Sudo     = "sudo"     // the engine alone runs under sudo
	Rootless = "rootless" // the engine is root of a user namespace only
)

// Options say where the engine keeps its state and how it reaches registries.
type Options struct {
	// StateDir holds the engine's caches; it is made when missing (0700) and
	// locked while an engine runs. Empty: /var/lib/imagewright as root and under
	// sudo, $XDG_DATA_HOME/imagewright for a rootless engine.
	StateDir string

	// Private starts an engine of its own on a new state inside StateDir, which
	// nobody else joins and which is removed when the engine ends.
	Private bool

	// Privilege is Root, Sudo or Rootless. Empty takes the first of them that
	// works here.
	Privilege string

	// RuntimeBinary is the runc, or crun since 1.15, to run steps with. Empty:
	// the first of runc, buildkit-runc and crun that is on PATH, beside this
	// executable, or in bin/ beside it. Never one of the working directory.
	RuntimeBinary string

	// PlainHTTP names registries (host or host:port) spoken to without TLS.
	// Loopback is always.
	PlainHTTP []string

	// Mirrors are asked before a registry, in their order: registry → hosts.
	Mirrors map[string][]string

	// CABundle is a PEM file of certificates trusted beside the system's.
	CABundle string

	// CAInSteps has RUN steps trust CABundle too.
	CAInSteps bool

	// Entitlements are what a build may be granted: network.host,
	// security.insecure, device. nil: the first two, as whoever starts an engine
	// may do all that they allow anyway.
	Entitlements []string

	// Needs are the entitlements that this program's builds will ask for: an
	// engine that grants them can be joined. nil: all of Entitlements.
	Needs []string

	// Serving is for engines that others reach through Serve: they are granted
	// no more than Entitlements.
	Serving bool

	// MaxSize is what the state may hold in bytes; older caches go first, at
	// start. 0 leaves it to BuildKit, which looks at the size of the disk.
	MaxSize int64

	// PlainLayers is a directory, or a name for one whose parent is there, in which
	// the engine leaves the layers that it makes for this program as they are
	// uncompressed: see [image.PlainLayers]. None need be there after a build: not
	// those that were made before, nor those that there is no room for. It must be
	// this program's alone. Empty: nowhere.
	PlainLayers string

	// Wait is told once who holds the state when it can neither be had nor
	// shared; Start then waits until it is free or its context ends. nil: a line
	// in Log.
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
