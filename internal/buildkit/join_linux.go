package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

const (
	socketName = "engine.sock" // in the state: where the engine is joined

	// joinPoll is how often a state that is neither free nor served is tried
	// again: its engine starts or ends just then, or is out of reach.
	joinPoll = 20 * time.Millisecond

	// patience is how long that may take before it is worth a line.
	patience = time.Second
)

// wish is the engine that a program wants.
type wish struct {
	setup
	env     map[string]string // the engine's environment
	cas     []byte            // PEM, trusted beside the system's
	stepCAs []byte            // PEM, trusted in RUN steps too
}

// at is w with its engine's state in root.
func (w wish) at(root string) wish {
	w.Root = root
	w.Temp = filepath.Join(root, "tmp")
	w.env = maps.Clone(w.env)
	w.env["TMPDIR"] = w.Temp
	// Send every layer to our own differ, not to the built-in overlay one.
	// https://github.com/moby/buildkit/blob/v0.34.2/cache/blobs.go#L153
	w.env["BUILDKIT_DEBUG_FORCE_OVERLAY_DIFF"] = "false"
	if w.Rootless {
		// The runtime may not write to /run, and heeds this in a user namespace.
		w.env["XDG_RUNTIME_DIR"] = filepath.Join(w.Temp, "run")
	}
	if w.StepCAs != "" {
		w.StepCABundle = filepath.Join(w.Temp, "steps-ca.pem")
	}
	return w
}

// hold is a link to an engine that is ready.
type hold struct {
	link   *link
	answer answer
	log    *journal
	root   string // its state
	fresh  bool   // it was started for this program
	pid    int    // the engine's process, 0 when that is not known
	child  *child // nil when another process started it
}

// drop closes what this process holds.
func (h *hold) drop() {
	h.link.Close()
	h.log.file.Close()
}

// acquire joins the engine that runs on w's state, or starts one. When neither
// can be, tell is told once who is in the way, and it waits.
//
// Two programs may do this at any moment, and an engine may end at any: what
// decides is the state's lock. Whoever has it starts an engine, which keeps it
// to its end; whoever has not tries to join again.
func acquire(ctx context.Context, w wish, tell func(holder string)) (*hold, error) {
	if err := os.MkdirAll(w.Root, 0o700); err != nil {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(w.Root) // as the kernel names what is mounted there
	if err != nil {
		return nil, err
	}
	w.Root = root
	if w.Private {
		return acquirePrivate(ctx, w)
	}
	w = w.at(w.Root)
	var once sync.Once
	wait := func(holder string) { once.Do(func() { tell(holder) }) }
	late := time.AfterFunc(patience, func() { wait(holderOf(w.Root)) })
	defer late.Stop()
	tick := time.NewTicker(joinPoll)
	defer tick.Stop()
	for {
		h, err := join(ctx, w.Root, w.setup, wait)
		if err == nil {
			return h, nil
		}
		if !errors.Is(err, errNoEngine) {
			return nil, err
		}
		lock, err := tryLock(w.Root, w.Program)
		if err != nil {
			return nil, err
		}
		if lock != nil {
			late.Stop()
			defer lock.Close() // the engine has its own
			return launch(ctx, w, lock)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, stateLocked(ctx, w.Root, holderOf(w.Root))
		}
	}
}

func stateLocked(ctx context.Context, root, holder string) error {
	err := fmt.Errorf("wait for state %s, used by %s: %w: %w", root, holder, ErrStateLocked, context.Cause(ctx))
	return fault.Failed(err, "wait for that build to end, or give this one a state of its own")
}

// errNoEngine is returned when there is no engine to join, or no more.
var errNoEngine = errors.New("no engine runs there")

// join joins the engine on root. One with other settings is waited for until it
// ends; then, as when there is none, the error is errNoEngine.
func join(ctx context.Context, root string, s setup, wait func(holder string)) (*hold, error) {
	l, err := dialSocket(root, socketName)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	h, err := l.join(ctx, root, s, wait)
	if err != nil {
		l.Close()
	}
	return h, err
}

func (l *link) join(ctx context.Context, root string, s setup, wait func(holder string)) (*hold, error) {
	creds, err := l.peer()
	switch {
	case err != nil:
		return nil, err
	case int(creds.Uid) != os.Geteuid():
		err := fmt.Errorf("%s in %s belongs to user %d", socketName, root, creds.Uid)
		return nil, fault.Failed(err, "give every user a state directory of their own")
	case creds.Pid == 0:
		// Its container may end, and the engine with it, while others still build.
		wait(holderOf(root) + ", in another container")
		return nil, errNoEngine
	}
	if err := l.send(s); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	var a answer
	files, err := l.receive(ctx, &a)
	switch {
	case ctx.Err() != nil:
		return nil, stateLocked(ctx, root, holderOf(root))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	case len(a.Differs) > 0:
		holder := ci.Printable(a.Holder + ", with other settings (" + strings.Join(a.Differs, ", ") + ")")
		wait(holder)
		if _, err := l.receive(ctx, &a); ctx.Err() == nil {
			return nil, fmt.Errorf("%w: %w", errNoEngine, err)
		}
		return nil, stateLocked(ctx, root, holder)
	case len(files) != 1:
		closeAll(files)
		return nil, errors.New("the engine's answer came without its log")
	}
	log, err := newJournal(files[0], io.SeekEnd)
	return &hold{link: l, answer: a, log: log, root: root, pid: int(creds.Pid)}, err
}

// dialSocket connects to the socket of this name in dir. The path of a socket
// may have 107 bytes only, so the directory goes in by its descriptor.
func dialSocket(dir, name string) (*link, error) {
	d, path, err := socketPath(dir, name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return &link{conn}, nil
}

// listenSocket makes a socket of this name in dir, in place of one that is there.
func listenSocket(dir, name string) (*net.UnixListener, error) {
	d, path, err := socketPath(dir, name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := unix.Unlinkat(int(d.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove %s of an engine that is gone: %w", name, err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the path is good for now only
	return l, nil
}

func socketPath(dir, name string) (*os.File, string, error) {
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, "", err
	}
	return d, fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), nil
}
