// Package fault gives errors the two things a command line needs of them: an
// exit code and a hint what to do. Text never decides; types do.
//
// A package with an error type of its own implements ExitCode() int and
// Hint() string on it instead of wrapping.
package fault

import "errors"

// Exit codes of every step.
const (
	ExitFailed  = 1 // network, registry, build
	ExitUsage   = 2 // bad usage or input
	ExitRefused = 3 // the policy said no
)

type fault struct {
	err  error
	code int
	hint string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }
func (f *fault) ExitCode() int { return f.code }
func (f *fault) Hint() string  { return f.hint }

// Failed is err with a hint what to do; exit code 1. The hint may be empty.
func Failed(err error, hint string) error { return &fault{err, ExitFailed, hint} }

// Usage is err as a mistake in what the user gave; exit code 2.
func Usage(err error, hint string) error { return &fault{err, ExitUsage, hint} }

// Refused is err as a policy's no; exit code 3.
func Refused(err error, hint string) error { return &fault{err, ExitRefused, hint} }

// Code returns the exit code of err: 0 for nil, that of the outermost error in
// its chain that has one, else 1.
func Code(err error) int {
	if err == nil {
		return 0
	}
	var c interface{ ExitCode() int }
	if errors.As(err, &c) {
		return c.ExitCode()
	}
	return ExitFailed
}

// Hint returns the outermost hint in err's chain that is not empty, or "".
func Hint(err error) string {
	for err != nil {
		var h interface {
			error
			Hint() string
		}
		if !errors.As(err, &h) {
			return ""
		}
		if hint := h.Hint(); hint != "" {
			return hint
		}
		err = errors.Unwrap(h)
	}
	return ""
}
