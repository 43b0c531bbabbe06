package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
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
			if os.Getpid() == 1 {
				unix.Kill(-1, unix.SIGKILL) // all of this PID namespace but this one
			}
		}
	}
	return e.controller.Close()
}

func hasDirs(dir string) bool {
	entries, _ := os.ReadDir(dir) // not there: nothing has run
	for _, e := range entries {
		if e.IsDir() && e.Name() != shortTempName {
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

// sweepSnapshots removes the directories of snapshots that no record names: an
// engine that is killed between the rename of one and its record leaves it. Its
// number is given out again, and then it is in the way. Only one of containerd's
// snapshotters can do this itself. Nothing may have opened root yet.
func sweepSnapshots(root string) error {
	entries, err := os.ReadDir(filepath.Join(root, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new state
	}
	if err != nil {
		return err
	}
	records, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"))
	if err != nil {
		return err
	}
	var known map[string]string // by the directory's name
	err = records.WithTransaction(context.Background(), false, func(ctx context.Context) (err error) {
		if known, err = storage.IDMap(ctx); errdefs.IsNotFound(err) {
			return nil // none was ever recorded
		}
		return err
	})
	if err := errors.Join(err, records.Close()); err != nil {
		return fmt.Errorf("read the records of snapshots: %w", err)
	}
	for _, entry := range entries {
		if _, ok := known[entry.Name()]; !ok {
			if err := os.RemoveAll(filepath.Join(root, "snapshots", entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
