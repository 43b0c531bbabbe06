package builder

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
)

// tableWidth is how many letters of a reason stand in a line: with the names
// before it, a line then fits a CI's log.
const tableWidth = 96

// none is the error when no builder works: what was tried, in that order.
type none struct{ tried []attempt }

type attempt struct {
	builder string
	err     error
}

func (n *none) add(builder string, err error) { n.tried = append(n.tried, attempt{builder, err}) }

// Error is a table: for each builder why it does not work, and what would help.
func (n *none) Error() string {
	var out strings.Builder
	out.WriteString("no builder works here\n")
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, t := range n.tried {
		name := "  " + t.builder
		row := func(text string) {
			fmt.Fprintf(table, "%s\t%s\n", name, text)
			name = ""
		}
		for _, line := range wrap(t.err.Error()) {
			row(line)
		}
		for i, line := range wrap(fault.Hint(t.err)) {
			lead := "→ "
			if i > 0 {
				lead = "  "
			}
			row(lead + line)
		}
	}
	table.Flush() // to a strings.Builder, which takes everything
	return strings.TrimRight(out.String(), "\n")
}

// Unwrap returns what the builders said.
func (n *none) Unwrap() []error {
	return slices.Collect(func(yield func(error) bool) {
		for _, t := range n.tried {
			if !yield(t.err) {
				return
			}
		}
	})
}

// Hint is empty: the table has one for each builder.
func (n *none) Hint() string { return "" }

// ExitCode is that of bad usage: builder must say where to build.
func (n *none) ExitCode() int { return fault.ExitUsage }

// reason is why none of what was tried so far is built on, in one line.
func (n *none) reason() string {
	var reasons []string
	for _, t := range n.tried {
		reasons = append(reasons, t.builder+" is not possible: "+ci.Printable(t.err.Error()))
	}
	return strings.Join(reasons, "; ")
}

// wrap breaks text between words into lines of tableWidth letters. What does not
// print is made visible, and no letter can end a cell of the table.
func wrap(text string) []string {
	var lines []string
	for word := range strings.FieldsSeq(ci.Printable(text)) {
		last := len(lines) - 1
		if last >= 0 && len(lines[last])+1+len(word) <= tableWidth {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}
