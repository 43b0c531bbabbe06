package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// privateName is the directory in a state that holds private states, each with
// a random name and a lock of its own.
const privateName = "private"

// acquirePrivate starts an engine on a new state inside w's.
func acquirePrivate(ctx context.Context, w wish) (*hold, error) {
	root, lock, err := newPrivate(w.Root, w.Program)
	if err != nil {
		return nil, fmt.Errorf("make a private state: %w", err)
	}
	defer lock.Close() // the engine has its own
	h, err := launch(ctx, w.at(root), lock)
	if err != nil {
		os.RemoveAll(root) // or the next start's sweep does
	}
	return h, err
}

// newPrivate makes a private state below root and locks it. Until both are done
// no sweep may look.
func newPrivate(root, program string) (string, *os.File, error) {
	parent := filepath.Join(root, privateName)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", nil, err
	}
	d, err := lockDir(parent)
	if err != nil {
		return "", nil, err
	}
	defer d.Close()
	dir, err := os.MkdirTemp(parent, "") // 0700
	if err != nil {
		return "", nil, err
	}
	lock, err := tryLock(dir, program)
	if err == nil && lock == nil {
		err = errors.New("it is locked already")
	}
	return dir, lock, err
}

// lockDir waits for the lock of a directory, which nobody holds for long.
func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, unix.EINTR) {
			d.Close()
			return nil, os.NewSyscallError("flock", err)
		}
	}
}

// sweepPrivate removes private states that killed engines left beside or below
// the one of s. The engine does it and not the program: files in there may
// belong to users of its namespace.
func sweepPrivate(s setup) {
	parent := filepath.Join(s.Root, privateName)
	if s.Private {
		parent = filepath.Dir(s.Root)
	}
	for dir, lock := range abandoned(parent, s.Program) {
		os.RemoveAll(dir) // what is left of it the next one takes
		lock.Close()
	}
}

// abandoned returns the private states below parent whose engines are gone, and
// their locks.
func abandoned(parent, program string) map[string]*os.File {
	d, err := lockDir(parent)
	if err != nil {
		return nil // there never was one
	}
	defer d.Close()
	entries, _ := d.ReadDir(-1)
	found := make(map[string]*os.File)
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		if !e.IsDir() {
			continue
		}
		if lock, err := tryLock(dir, program); err == nil && lock != nil {
			found[dir] = lock
		}
	}
	return found
}

// removePrivate removes the engine's own state, with whatever it has mounted
// there.
func removePrivate(root string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if strings.HasPrefix(m.Mountpoint, root+"/") {
			unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	return os.RemoveAll(root)
}
