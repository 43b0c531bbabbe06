package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/buildkit/client"
)

const rootHint = "run it as root (sudo), or in a container started with --privileged"

// stateHint is what to do when the state itself is to blame.
func stateHint(root string) string {
	return "if it happens again, remove " + root + ": it only holds caches"
}

// Engine is a running BuildKit.
type Engine struct {
	client      *client.Client
	link        *link
	lock        *os.File
	process     *os.Process
	log         *tail
	options     Options
	runtime     string
	snapshotter string

	exited  chan struct{} // closed when the process is gone
	exitErr error         // how it went; read after exited

	closing  sync.Once
	closeErr error
}

// Start starts an engine on o.StateDir and waits until it is ready, which takes
// about a tenth of a second; before that, until the state is free. The caller
// must Close it. Errors: [ErrNotRoot], [ErrNoRuntime], [ErrStateLocked].
//
// The engine is killed when this process dies, however it dies, and with it
// every process and mount of its builds; its state can be used again.
func Start(ctx context.Context, o Options) (*Engine, error) {
	if os.Geteuid() != 0 {
		return nil, fault.Failed(fmt.Errorf("start BuildKit: %w, this is user %d", ErrNotRoot, os.Geteuid()), rootHint)
	}
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Wait == nil {
		o.Wait = func(holder string) {
			o.Log.Warn("waiting for the build state", "dir", o.StateDir, "holder", holder)
		}
	}
	env := environment(o.Environ)
	executable, _ := os.Executable() // unknown: one place less to look in
	binary, err := findRuntime(ctx, o.RuntimeBinary, env, executable)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(o.StateDir)
	if err != nil || o.StateDir == "" {
		return nil, errors.Join(errors.New("start BuildKit: no state directory given"), err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("start BuildKit: %w", err)
	}
	lock, err := lockState(ctx, root, o.Wait)
	if err != nil {
		return nil, err
	}
	e := &Engine{lock: lock, options: o, runtime: binary, log: &tail{log: o.Log}, exited: make(chan struct{})}
	if err := e.start(ctx, root, env); err != nil {
		lock.Close()
		return nil, fmt.Errorf("start BuildKit: %w", err)
	}
	return e, nil
}

// start does what Start does once the state is ours. It leaves no process
// behind on error; the lock is the caller's.
func (e *Engine) start(ctx context.Context, root string, env map[string]string) error {
	temp, err := emptyTemp(root)
	if err != nil {
		return err
	}
	env["TMPDIR"] = temp
	// Send every layer to our own differ, not to the built-in overlay one.
	// https://github.com/moby/buildkit/blob/v0.34.2/cache/blobs.go#L153
	env["BUILDKIT_DEBUG_FORCE_OVERLAY_DIFF"] = "false"
	if err := trust(e.options.CABundle, filepath.Join(temp, "ca.pem"), env); err != nil {
		return err
	}
	there, err := e.spawn(env)
	if err != nil {
		return err
	}
	there.Close()
	if err := e.hello(ctx, root, temp); err != nil {
		e.stop(0)
		if ctx.Err() != nil {
			return err // it is not the engine's fault
		}
		return e.died(err)
	}
	return nil
}

// emptyTemp returns the engine's directory for temporary files, without what a
// killed one left there. The state is locked, so nobody uses it.
func emptyTemp(root string) (string, error) {
	temp := filepath.Join(root, "tmp")
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	return temp, os.Mkdir(temp, 0o700)
}

// hello sets the engine up and waits for its answer.
func (e *Engine) hello(ctx context.Context, root, temp string) error {
	err := e.link.send(setup{
		Root: root, Temp: temp, Runtime: e.runtime,
		PlainHTTP: e.options.PlainHTTP, MaxSize: e.options.MaxSize,
		Verbose:     e.options.Log.Enabled(ctx, slog.LevelDebug),
		Snapshotter: e.options.snapshotter,
	})
	if err != nil {
		return err
	}
	var a answer
	if err := e.link.receive(ctx, &a); errors.Is(err, io.EOF) {
		<-e.exited // a crash: the log has more
		return fault.Failed(fmt.Errorf("the engine died: %w", e.exitErr), stateHint(root))
	} else if err != nil {
		return err
	}
	if a.Error != "" {
		return fault.Failed(errors.New(a.Error), a.Hint)
	}
	e.snapshotter = a.Snapshotter
	e.client, err = client.New(ctx, "unix:///engine", client.WithContextDialer(
		func(context.Context, string) (net.Conn, error) { return e.link.dial() }))
	if err != nil {
		return err
	}
	return e.prune(ctx)
}

// prune makes the state as small as it should be, before it grows again: the
// engine's own collector looks a second after the start, and a build may be
// over by then. Asking first is cheaper than a Prune that finds nothing to do
// (26 to 105 ms, measured).
func (e *Engine) prune(ctx context.Context) error {
	limit := e.options.MaxSize
	if limit == 0 {
		return nil
	}
	records, err := e.client.DiskUsage(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		limit -= r.Size
	}
	if limit >= 0 {
		return nil
	}
	return e.client.Prune(ctx, nil, client.PruneAll, client.WithKeepOpt(0, 0, e.options.MaxSize, 0))
}

// died prints the end of the engine's log and returns err.
func (e *Engine) died(err error) error {
	if out := e.log.String(); out != "" && e.options.Stderr != nil {
		fmt.Fprintln(e.options.Stderr, "the BuildKit engine's last words:")
		for line := range strings.Lines(out) { // quotes what build steps and registries say
			fmt.Fprintln(e.options.Stderr, ci.Printable(strings.TrimSuffix(line, "\n")))
		}
	}
	return err
}
