package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leaveTimeout is how long a process may need to be gone after the one that
// waited for its work: an engine that others used has no parent who waits.
const leaveTimeout = 2 * time.Second

// checkNothingLeft checks that no process and no mount of what was measured
// outlives it.
func checkNothingLeft(work string) error {
	deadline := time.Now().Add(leaveTimeout)
	for {
		found := append(processesOf(work), mountsBelow(work)...)
		if len(found) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("left behind in %s: %s", work, strings.Join(found, ", "))
		}
		time.Sleep(leaveTimeout / 20)
	}
}

// processesOf are those that work in a folder, or name it in their arguments.
func processesOf(work string) []string {
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*") // only a bad pattern is an error
	for _, process := range processes {
		id := filepath.Base(process)
		cwd, _ := os.Readlink(filepath.Join(process, "cwd"))           // an error: it is gone
		arguments, _ := os.ReadFile(filepath.Join(process, "cmdline")) // likewise
		if id != strconv.Itoa(os.Getpid()) && (within(work, cwd) || bytes.Contains(arguments, []byte(work))) {
			name, _, _ := bytes.Cut(arguments, []byte{0})
			found = append(found, fmt.Sprintf("process %s (%s)", id, name))
		}
	}
	return found
}

// mountsBelow are the mounts in a folder.
//
// https://man7.org/linux/man-pages/man5/proc_pid_mounts.5.html
func mountsBelow(work string) []string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && within(work, fields[1]) {
			found = append(found, "mount "+fields[1])
		}
	}
	return found
}

func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

// findCgroups finds the cgroups that BuildKit keeps those of its steps in. It
// makes them and never removes them. Version 1 has a tree for each controller,
// version 2 one for all.
func findCgroups() []string {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/buildkit", "/sys/fs/cgroup/*/buildkit"} {
		trees, _ := filepath.Glob(pattern) // only a bad pattern is an error
		found = append(found, trees...)
	}
	return found
}

// removeNewCgroups removes those that were not there before. One that another
// BuildKit uses by now is not empty, and stays.
func removeNewCgroups(before []string) (err error) {
	for _, dir := range findCgroups() {
		if slices.Contains(before, dir) {
			continue
		}
		if e := syscall.Rmdir(dir); e != nil && !errors.Is(e, syscall.EBUSY) {
			err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", dir, e))
		}
	}
	return err
}
