package fault

import (
	"errors"
	"fmt"
	"testing"
)

// typed is an error of a package of its own.
type typed struct{}

func (typed) Error() string { return "typed" }
func (typed) ExitCode() int { return ExitRefused }
func (typed) Hint() string  { return "its own hint" }

func TestTheOutermostTypeDecides(t *testing.T) {
	plain := errors.New("plain")
	for _, tc := range []struct {
		name string
		err  error
		code int
		hint string
	}{
		{"nothing", nil, 0, ""},
		{"no type", plain, ExitFailed, ""},
		{"failed", Failed(plain, "try again"), ExitFailed, "try again"},
		{"usage, wrapped", fmt.Errorf("input x: %w", Usage(plain, "say y")), ExitUsage, "say y"},
		{"usage around a refusal", Usage(Refused(plain, "inner"), "outer"), ExitUsage, "outer"},
		{"an empty hint shows the one below", Usage(Refused(plain, "inner"), ""), ExitUsage, "inner"},
		{"a type of another package", fmt.Errorf("push: %w", typed{}), ExitRefused, "its own hint"},
		{"joined", errors.Join(plain, Usage(plain, "second")), ExitUsage, "second"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Code(tc.err); got != tc.code {
				t.Errorf("exit code %d, want %d", got, tc.code)
			}
			if got := Hint(tc.err); got != tc.hint {
				t.Errorf("hint %q, want %q", got, tc.hint)
			}
		})
	}
}
