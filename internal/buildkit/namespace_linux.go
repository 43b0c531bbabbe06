package buildkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ownNamespaces fits the fresh mount and PID namespaces out: a /proc that shows
// this PID namespace, which the runtime reads, and a runtime's directory that
// goes with the engine. In a user namespace the first is done.
func ownNamespaces(s setup) error {
	if !s.HostPIDs && os.Getpid() != 1 {
		return errors.New("not in a PID namespace of its own")
	}
	if !s.Rootless {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	dir := runtimeDir(s.Runtime)
	if err := mountMemory(dir); err != nil {
		return err
	}
	return shortTemp(s.Temp, dir)
}

// shortTempName is no container's, although it is where those are.
const shortTempName = "tmp"

// shortTemp mounts the directory for temporary files a second time, in dir, which
// goes with the engine, when its name is shorter there. BuildKit makes a socket in
// it for every step that has an SSH agent, and the path of one may have 107 bytes
// only. A link would not do: BuildKit refuses to mount what is behind one.
func shortTemp(temp, dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	short := filepath.Join(dir, shortTempName)
	if len(short) >= len(temp) {
		return nil
	}
	if err := os.Mkdir(short, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(temp, short, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", temp, short, err)
	}
	return os.Setenv("TMPDIR", short)
}

// mountMemory makes directory dir, with something in it that goes with the
// engine and never reaches a disk.
func mountMemory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}

// runtimeDir is where a runtime keeps what it knows of its containers.
func runtimeDir(runtime string) string {
	dir := "/run"
	if own := os.Getenv("XDG_RUNTIME_DIR"); own != "" { // set for a rootless engine only
		dir = own
	}
	if isCrun(runtime) {
		return filepath.Join(dir, "crun")
	}
	return filepath.Join(dir, "runc")
}

// removeCgroup removes the cgroup of container id from every hierarchy and
// reports whether none is left; one with a process in it stays.
func removeCgroup(id string) bool {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return true // no cgroups here
	}
	gone := true
	for line := range strings.Lines(string(own)) {
		// hierarchy-ID:controllers:path, man 7 cgroups. Version 2 names none; it
		// is mounted where version 1 has its directory of mounts, or below that.
		_, rest, _ := strings.Cut(line, ":")
		controllers, _, _ := strings.Cut(rest, ":")
		mounts := []string{strings.TrimPrefix(controllers, "name=")}
		if controllers == "" {
			mounts = []string{"", "unified"}
		}
		for _, mount := range mounts {
			// The executor's specification puts containers below this name.
			err := unix.Rmdir(filepath.Join("/sys/fs/cgroup", mount, "buildkit", filepath.Base(id)))
			gone = gone && (err == nil || !errors.Is(err, unix.EBUSY))
		}
	}
	return gone
}
