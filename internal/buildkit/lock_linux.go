package buildkit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/imagewright/imagewright/internal/ci"
	"golang.org/x/sys/unix"
)

const (
	lockName = "lock"

	maxHolder = 200 // bytes of the lock file that are shown
)

// tryLock takes the lock of state directory dir for program, or returns nil when
// it is taken. The file stays behind; only its lock counts.
//
// The engine inherits the open file, and a flock lasts until the last copy is
// closed: it is the engine that holds the state, whatever becomes of the program
// that started it, and nobody ever opens a database that is still written.
//
// BuildKit has no such lock: a second process on the same state hangs in bbolt
// without a word.
func tryLock(dir, program string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return nil, f.Close()
	}
	if err == nil {
		err = sign(f, program)
	}
	if err != nil {
		f.Close() // with it goes the lock
		return nil, fmt.Errorf("lock state %s: %w", path, err)
	}
	return f, nil
}

// thisProgram is who holds what this process holds: "process 42 on host".
func thisProgram() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

// sign writes into the lock file who started the engine.
func sign(f *os.File, program string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(program+"\n"), 0)
	return err
}

// holderOf reads who started the engine on root. The file is written after the
// lock is taken, so it may be empty for a moment.
func holderOf(root string) string {
	const unknown = "another process"
	f, err := os.OpenFile(filepath.Join(root, lockName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return unknown
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHolder))
	text := ci.Printable(strings.TrimSpace(string(b)))
	if err != nil || text == "" {
		return unknown
	}
	return text
}
