package image

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/imagewright/imagewright/internal/fault"
)

// What a layout lacks when it holds no image.
var (
	// ErrNoLayout says that a directory does not exist or is no OCI layout.
	ErrNoLayout = errors.New("no OCI layout here")
	// ErrNoRoot says that a layout exists and names no image.
	ErrNoRoot = errors.New("no image in it")
)

// Damaged says that something stored is not what its name or its owner says it
// is: changed, cut off, missing, or nothing that this package accepts.
type Damaged struct {
	In      string // what holds it: "layout .imagewright/image", "archive app.tar"
	What    string // "blob sha256:…", "index.json"; may be empty
	Problem string // "has another content: got sha256:…"

	hint string
	err  error // the cause, if it has one
}

// Error is one sentence: where, what, and what is wrong with it.
func (d *Damaged) Error() string {
	if d.What == "" {
		return d.In + ": " + d.Problem
	}
	return d.In + ": " + d.What + " " + d.Problem
}

// Unwrap returns the cause, or nil.
func (d *Damaged) Unwrap() error { return d.err }

// Hint says how to get an undamaged one.
func (d *Damaged) Hint() string { return d.hint }

// ExitCode is that of a failure: nobody typed this wrong.
func (d *Damaged) ExitCode() int { return fault.ExitFailed }

// place is what holds content, as errors name it.
type place struct {
	name string // "layout .imagewright/image"
	hint string // how to get an undamaged one
}

func (p place) damaged(what, format string, args ...any) error {
	return &Damaged{In: p.name, What: what, Problem: fmt.Sprintf(format, args...), hint: p.hint}
}

func (p place) damagedBy(err error, what, problem string) error {
	return &Damaged{In: p.name, What: what, Problem: problem + ": " + err.Error(), hint: p.hint, err: err}
}

// unread is the error of a content that could not be opened or read.
func (p place) unread(err error, what string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Damaged{In: p.name, What: what, Problem: "is missing", hint: p.hint, err: fs.ErrNotExist}
	}
	if _, ok := errors.AsType[*Damaged](err); ok {
		return err
	}
	return fmt.Errorf("%s: %s: %w", p.name, what, err)
}
