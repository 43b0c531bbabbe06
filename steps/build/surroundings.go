package build

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/imagewright/imagewright/internal/fault"
)

// surroundings is what a plan needs to know of the process around it.
type surroundings struct {
	dir       string // the checkout
	workspace string
	fork      bool   // the checkout's content is a stranger's
	runURL    string // of the CI's run
	facts     facts
	stdin     io.Reader
	getenv    func(string) string
	log       func(message string)
	warn      func(message string)
}

func (s surroundings) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.dir, path)
}

// shown is path for people: relative to the checkout where it is in it.
func (s surroundings) shown(path string) string {
	if relative, err := filepath.Rel(s.dir, path); err == nil && filepath.IsLocal(relative) {
		return filepath.ToSlash(relative)
	}
	return path
}

// stayInside refuses a path outside the checkout in a run for a fork: the
// checkout's own imagewright.yaml, or a symlink in it, could name the runner's
// files.
func (s surroundings) stayInside(input, resolved string) error {
	if s.fork && !s.inCheckout(resolved) {
		return fault.Usage(fmt.Errorf("input %s: %s is outside the checkout", input, resolved), "runs for forks read the checkout alone")
	}
	return nil
}

// inCheckout tells whether path, whose links are resolved, is in the checkout.
func (s surroundings) inCheckout(path string) bool {
	root, err := filepath.EvalSymlinks(s.dir)
	return err == nil && within(root, path)
}

// within tells whether path is dir or below it, by their names.
func within(dir, path string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(relative)
}
