//go:build thief && linux

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/imagewright/imagewright/steps/scan/sandbox/thief"
	"github.com/imagewright/imagewright/steps/scan/sandbox/thief/household"
)

// work is a real program that a thief was linked into.
type work struct {
	Dir  string   // what is copied into the checkout, where it runs
	Args []string // the first is the program, in Dir
}

// done is how a program ended.
type done struct {
	Code int
	Said string
}

// moveIn copies a program and all it needs into the checkout. dir was opened
// before the household covered its path.
func (o order) moveIn(dir *os.Root) error {
	if err := os.CopyFS(o.Scene.Workspace, dir.FS()); err != nil {
		return err
	}
	return filepath.WalkDir(o.Scene.Workspace, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, o.Plan.User, o.Plan.User))
	})
}

// run has the program do its work in the household, and returns what became of
// it and of the thief.
func (w work) run(h *household.Household, cmd *exec.Cmd) (r report, err error) {
	if err := h.Publish(); err != nil {
		return r, err
	}
	cmd.Path, cmd.Args = filepath.Join(h.Scene.Workspace, w.Args[0]), w.Args
	said, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return r, err
	}
	r.Done = done{Code: cmd.ProcessState.ExitCode(), Said: string(said)}
	f, err := os.Open(thief.OutcomesPath)
	if err != nil {
		return r, err
	}
	defer f.Close()
	for d := json.NewDecoder(f); d.More(); {
		var o thief.Outcome
		if err := d.Decode(&o); err != nil {
			return r, err
		}
		r.Outcomes = append(r.Outcomes, outcome{Name: o.Name, Why: o.Why, Succeeded: o.Why == ""})
	}
	return r, nil
}
