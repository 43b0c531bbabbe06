package buildkit

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	executorName = "executor" // below a worker's root: where the runtime's files of a step are
	stepsName    = "steps"    // a name for each step that runs

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
	for waiting := true; waiting && (hasDirs(e.steps) || hasDirs(e.containers)); {
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

// sweep removes the cgroups of a killed engine's steps, which are noted in dir.
// Their mounts and processes went with its namespaces.
func sweep(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !removeCgroup(e.Name()) {
			continue // still dying; the next start takes it
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove what a killed build left: %w", err)
		}
	}
	return nil
}
