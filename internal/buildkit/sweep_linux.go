package buildkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stepPatience is how long the steps of a cancelled build get to go. They
	// are sent SIGKILL at once; what takes time is the runtime tidying up.
	stepPatience = 5 * time.Second
	stepPoll     = 5 * time.Millisecond
)

// close waits for the steps of cancelled builds to be gone, so that nothing of
// them is left outside the namespaces, and closes the databases. What doesn't
// go in time is killed, and the next start sweeps up after it.
func (e *engine) close() error {
	close(e.stopping)
	deadline := time.After(stepPatience)
	tick := time.NewTicker(stepPoll)
	defer tick.Stop()
	for waiting := true; waiting && (hasDirs(e.executor) || hasDirs(e.containers)); {
		select {
		case <-tick.C:
		case <-deadline:
			waiting = false
			unix.Kill(-1, unix.SIGKILL) // as process 1: all of this PID namespace but this one
		}
	}
	return e.controller.Close()
}

func hasDirs(dir string) bool {
	entries, _ := os.ReadDir(dir) // not there: nothing has run
	for _, e := range entries {
		if e.IsDir() {
			return true
		}
	}
	return false
}

// sweep removes what steps of a killed engine left in the executor's directory
// and among the cgroups. Their mounts and processes went with its namespaces.
func sweep(executor string) error {
	entries, err := os.ReadDir(executor)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue // resolv.conf and the like: written anew
		}
		if !removeCgroup(e.Name()) {
			continue // still dying; the next start takes it
		}
		if err := os.RemoveAll(filepath.Join(executor, e.Name())); err != nil {
			return fmt.Errorf("remove what a killed build left: %w", err)
		}
	}
	return nil
}
