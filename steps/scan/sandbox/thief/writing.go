//go:build thief && linux

package thief

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Harmed are files in the home directory, each for one way to spoil it.
func Harmed() []string { return []string{"truncated", "removed", "opened-up", "labelled", "dated"} }

// writingWays change what others will read or run.
func writingWays(s Scene) []Way {
	at := func(elements ...string) string { return filepath.Join(elements...) }
	const add = os.O_APPEND
	create := func(name, path string) Way {
		return Way{Name: name, Leaves: path, Try: func(context.Context) error { return leaveMark(path, os.O_CREATE) }}
	}
	ways := []Way{
		create("a file of its own in /tmp", "/tmp/thief"),
		create("a file in shared memory", "/dev/shm/thief"),
		{Name: "what the shell runs at login", Try: func(context.Context) error { return leaveMark(at(s.Home, ".bashrc"), add) }},
		create("who may log in", at(s.Home, ".ssh/authorized_keys")),
		{Name: "a program on the path", Try: func(context.Context) error { return s.replace(at(filepath.Dir(s.Neighbour), "kubectl")) }},
		create("a scheduled job", "/etc/cron.d/thief"),
		create("a git hook", at(s.Workspace, ".git/hooks/pre-push")),
		{Name: "the source code", Try: func(context.Context) error { return leaveMark(at(s.Workspace, "main.go"), add) }},
		{Name: "the environment of later steps", Try: func(context.Context) error { return leaveMark(at(s.Home, "github_env"), add) }},
		{Name: "the vulnerability database", Try: func(context.Context) error { return leaveMark(at(s.Cache, "db/trivy.db"), 0) }},
	}
	harm := map[string]func(path string) error{
		"truncated": truncate, "removed": remove, "opened-up": openUp, "labelled": label, "dated": date,
	}
	for _, name := range Harmed() {
		ways = append(ways, Way{Name: "a file of the user " + name, Try: func(context.Context) error { return harm[name](at(s.Home, name)) }})
	}
	return ways
}

// replace puts a file of its own in the place of another.
func (s Scene) replace(path string) error {
	mine := filepath.Join(filepath.Dir(path), "thief")
	for _, mine = range []string{mine, filepath.Join(s.Scratch, "thief")} {
		if err := leaveMark(mine, os.O_CREATE); err == nil {
			break
		}
	}
	if err := os.Rename(mine, path); err != nil {
		return err
	}
	return leaveMark(path, 0)
}

func truncate(path string) error {
	if err := unix.Truncate(path, 0); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() != 0 {
		err = errors.New("it has its content still")
	}
	return err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return errors.New("it is there still")
	}
	return nil
}

func openUp(path string) error {
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm() != 0o777 {
		err = errors.New("its mode did not change")
	}
	return err
}

func label(path string) error {
	const name = "user.thief"
	if err := unix.Setxattr(path, name, []byte(mark), 0); err != nil {
		return err
	}
	_, err := unix.Getxattr(path, name, make([]byte, len(mark)))
	return err
}

func date(path string) error {
	if err := unix.Utimes(path, []unix.Timeval{{}, {}}); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.ModTime().Unix() != 0 {
		err = errors.New("its time did not change")
	}
	return err
}
