package buildkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

const rootHint = "run it as root (sudo), or in a container started with --privileged"

// stateHint is what to do when the state itself is to blame.
func stateHint(root string) string {
	return "if it happens again, remove " + root + ": it only holds caches"
}

// Engine is a running BuildKit that this program has a link to.
type Engine struct {
	*hold
	client  *client.Client
	options Options
	mode    string
	process *os.Process // the engine's, ours or not

	exited chan struct{} // closed when it is gone, as far as can be told
	parting

	unfollow func()

	closing  sync.Once
	closeErr error
}

// Start starts an engine on o.StateDir and waits until it is ready, which takes
// about a tenth of a second; or it joins the one that runs there. One with other
// settings it waits for. The caller must Close it. Errors: [ErrNotRoot],
// [ErrNoRuntime], [ErrStateLocked].
//
// When this process dies, however it dies, its builds are ended; and if nobody
// else uses the engine, so is that, with every process and mount of it. Its
// state can be used again.
func Start(ctx context.Context, o Options) (*Engine, error) {
	e, err := open(ctx, o.filled())
	if err != nil {
		err = fmt.Errorf("start BuildKit: %w", err)
	}
	if errors.Is(err, unix.EACCES) && fault.Hint(err) == "" {
		err = fault.Failed(err, "give the builder's state a place that this user may write to, with state-dir")
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fault.Failed(err, "free some space there, or give the builder's state another place with state-dir")
	}
	return e, err
}

func open(ctx context.Context, o Options) (*Engine, error) {
	w, err := o.wish(ctx)
	if err != nil {
		return nil, err
	}
	ways, err := o.ways()
	if err != nil {
		return nil, err
	}
	var tried []error
	for _, mode := range ways {
		h, err := o.acquire(ctx, mode, w)
		if err == nil {
			return newHost(ctx, o, mode, h)
		}
		if _, ok := errors.AsType[*unfit](err); !ok {
			if d, ok := errors.AsType[*deathbed](err); ok {
				o.lastWords(d.words)
			}
			return nil, err
		}
		tried = append(tried, err)
	}
	return nil, noWay(tried)
}

// filled is o with what was not given.
func (o Options) filled() Options {
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
	if o.Entitlements == nil {
		o.Entitlements = []string{"network.host", "security.insecure"}
	}
	if o.Needs == nil {
		o.Needs = o.Entitlements
	}
	return o
}

// wish is the engine that o describes, but for where its state is.
func (o Options) wish(ctx context.Context) (w wish, err error) {
	w.env = environment(o.Environ)
	if os.Geteuid() != 0 {
		w.env["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin" // where Debian has runc, and no user looks
	}
	executable, _ := os.Executable() // unknown: one place less to look in
	if w.Runtime, err = findRuntime(ctx, o.RuntimeBinary, w.env, executable); err != nil {
		return w, err
	}
	if err := w.readCertificates(o.CABundle, o.CAInSteps); err != nil {
		return w, err
	}
	w.Network = maps.Clone(w.env)
	delete(w.Network, "PATH")
	w.Version, w.Program = programVersion(), thisProgram()
	w.PlainHTTP, w.Mirrors = o.PlainHTTP, o.Mirrors
	w.Entitlements, w.Needs, w.Serving = o.Entitlements, o.Needs, o.Serving
	w.MaxSize, w.Private, w.Snapshotter = o.MaxSize, o.Private, o.snapshotter
	w.Verbose = o.Log.Enabled(ctx, slog.LevelDebug)
	return w, nil
}

// acquire gets a link to an engine that runs with the rights of mode. The error
// is an *unfit when there are none to be had.
func (o Options) acquire(ctx context.Context, mode string, w wish) (*hold, error) {
	root, err := o.stateDir(mode)
	if err != nil {
		return nil, err
	}
	w.Root = root
	switch mode {
	case Root:
		if err := needRoot(); err != nil {
			return nil, err
		}
	case Sudo:
		return acquireBySudo(ctx, w, o.Wait)
	case Rootless:
		w.Rootless = true
	}
	return acquire(ctx, w, o.Wait)
}

func (o Options) stateDir(mode string) (string, error) {
	if o.StateDir != "" {
		return filepath.Abs(o.StateDir)
	}
	if mode != Rootless || os.Geteuid() == 0 {
		return "/var/lib/imagewright", nil
	}
	var home, data string
	for _, v := range o.Environ {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "XDG_DATA_HOME":
			data = value
		case "HOME":
			home = value
		}
	}
	if filepath.IsAbs(data) {
		return filepath.Join(data, "imagewright"), nil
	}
	if !filepath.IsAbs(home) {
		return "", errors.New("no state directory given, and there is no HOME to make one in")
	}
	return filepath.Join(home, ".local", "share", "imagewright"), nil
}

// newHost makes the Engine of a link.
func newHost(ctx context.Context, o Options, mode string, h *hold) (_ *Engine, err error) {
	e := &Engine{hold: h, options: o, mode: mode, parting: newParting()}
	e.exited = e.gone
	if h.child != nil {
		e.process, e.exited = h.child.process, h.child.exited
	} else if h.pid > 0 {
		e.process, _ = os.FindProcess(h.pid) // by descriptor: never a later process of that number
	}
	go e.parting.hear(h.link)
	e.unfollow = e.follow(ctx)
	e.givePlain(o) // before the first connection: it counts for all of them
	e.client, err = client.New(ctx, "unix:///engine", client.WithContextDialer(
		func(context.Context, string) (net.Conn, error) { return h.link.dial() }))
	if err == nil && h.fresh {
		err = e.prune(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// follow has the engine's log in ours while that wants so much.
func (e *Engine) follow(ctx context.Context) (stop func()) {
	if !e.options.Log.Enabled(ctx, slog.LevelDebug) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go e.log.follow(ctx, e.options.Log, done)
	return func() {
		cancel()
		<-done
	}
}

// prune makes the state as small as it should be, before it grows again: the
// engine's own collector looks a second after the start, and a build may be
// over by then. Asking first is cheaper than a Prune that finds nothing to do
// (26 to 105 ms, measured).
func (e *Engine) prune(ctx context.Context) error {
	limit := e.options.MaxSize
	if limit == 0 || e.options.Private {
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

// lastWords prints the end of the engine's log.
func (o Options) lastWords(words string) {
	if words == "" || o.Stderr == nil {
		return
	}
	fmt.Fprintln(o.Stderr, "the BuildKit engine's last words:")
	for line := range strings.Lines(words) { // quotes what build steps and registries say
		fmt.Fprintln(o.Stderr, ci.Printable(strings.TrimSuffix(line, "\n")))
	}
}
