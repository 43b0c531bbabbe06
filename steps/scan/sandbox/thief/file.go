//go:build thief && linux

package thief

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fileWays read what is not theirs in ways that are less plain.
func fileWays(s Scene) []Way {
	secret := filepath.Join(s.Home, ".ssh/id_ed25519")
	return []Way{
		{Name: "a listing of the home directory", Try: func(context.Context) error { return s.list(s.Home) }},
		{Name: "another job's temporary file", Try: func(context.Context) error { return s.read(s.Neighbour) }},
		{Name: "a path that leads out of the scratch directory", Try: func(context.Context) error {
			return s.read(s.Scratch + strings.Repeat("/..", 20) + secret)
		}},
		{Name: "a path by openat2", Try: func(context.Context) error { return s.readBeneath("/", secret) }},
		{Name: "a symbolic link to a secret", Try: func(context.Context) error { return s.moved(secret, "symlink", os.Symlink) }},
		{Name: "a hard link to a secret", Try: func(context.Context) error { return s.moved(s.Neighbour, "link", os.Link) }},
		{Name: "a secret moved to the scratch directory", Try: func(context.Context) error {
			return s.moved(filepath.Join(filepath.Dir(s.Neighbour), "to-move"), "moved", os.Rename)
		}},
		{Name: "a file by its handle", Try: s.readHandle},
		{Name: "a way out of a changed root directory", Try: func(context.Context) error { return s.climb(secret) }},
		{Name: "a device of its own", Try: s.makeDevice},
		{Name: "watching the user's files", Try: s.watch},
	}
}

func (s Scene) list(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == ".ssh" {
			return nil
		}
	}
	return errNoLoot
}

func (s Scene) readBeneath(dir, path string) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, filepath.Join(dir, path), &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.readDescriptor(fd)
}

// moved gives a file a name in the scratch directory and reads it there.
func (s Scene) moved(from, name string, move func(from, to string) error) error {
	to := filepath.Join(s.Scratch, name)
	if err := move(from, to); err != nil {
		return err
	}
	return s.read(to)
}

func (s Scene) readHandle(context.Context) error {
	for _, mount := range []string{s.Handle.Mount, s.Scratch} { // any file of its file system will do
		dir, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		defer unix.Close(dir)
		fd, err := unix.OpenByHandleAt(dir, unix.NewFileHandle(s.Handle.Type, s.Handle.Bytes), unix.O_RDONLY|unix.O_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return s.readDescriptor(fd)
	}
	return errors.New("no directory of its file system can be opened")
}

// climb takes the root directory to below the working directory, from where ".."
// leads further than the root.
func (s Scene) climb(secret string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // the other threads keep theirs
		return err
	}
	below := filepath.Join(s.Scratch, "below")
	if err := os.Mkdir(below, 0o700); err != nil {
		return err
	}
	if err := errors.Join(unix.Chdir(s.Scratch), unix.Chroot(below)); err != nil {
		return err
	}
	return s.read(strings.Repeat("../", 20) + secret)
}

func (s Scene) makeDevice(context.Context) error {
	path := filepath.Join(s.Scratch, "zero")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := f.Read(make([]byte, 16)); n != 16 {
		return fmt.Errorf("it gave %d bytes: %w", n, err)
	}
	return nil
}

func (s Scene) watch(context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, s.Home, unix.IN_OPEN); err != nil {
		return err
	}
	if _, err := os.ReadDir(s.Home); err != nil { // as anybody might
		return err
	}
	_, err = unix.Read(fd, make([]byte, 4<<10))
	return err
}
