package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

const (
	lockName = "lock"

	// lockPoll is how often a held lock is tried again. flock(2) itself cannot
	// be interrupted by a context.
	lockPoll = 50 * time.Millisecond

	maxHolder = 200 // bytes of the lock file that are shown
)

// lockState takes the lock of state directory dir. While another process holds
// it, wait is told once by whom. The file stays behind; only its lock counts.
//
// The engine inherits the open file, and a flock lasts until the last copy is
// closed: so when this process is killed, the next one waits until the engine
// is gone too, and never opens a database that is still written.
//
// BuildKit has no such wait: a second process on the same state hangs in bbolt
// without a word.
func lockState(ctx context.Context, dir string, wait func(holder string)) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	told := false
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock state %s: %w", path, err), f.Close())
		}
		if !told {
			told = true
			wait(holder(f))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			err := fmt.Errorf("wait for state %s, used by %s: %w: %w", dir, holder(f), ErrStateLocked, context.Cause(ctx))
			f.Close()
			return nil, fault.Failed(err, "wait for that build to end, or give this one a state directory of its own")
		}
	}
	if err := sign(f); err != nil {
		f.Close() // with it goes the lock
		return nil, fmt.Errorf("lock state: %w", err)
	}
	return f, nil
}

// sign writes into the lock file who holds it.
func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host), 0)
	return err
}

// holder reads who holds the lock: "process 42 on host". The file is written
// after the lock is taken, so it may be empty for a moment.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHolder))
	text := ci.Printable(strings.TrimSpace(string(b)))
	if err != nil || text == "" {
		return "another process"
	}
	return text
}
