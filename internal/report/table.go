package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
)

// Widths of the table's columns that hold free text, in runes.
const (
	maxPlaceRunes   = 60
	maxMessageRunes = 80
)

// WriteTable writes findings as a table for a terminal or a log, one line each,
// in the order given. Nothing is written for no findings. Text from an image
// cannot move the cursor, change colours or forge a line.
func WriteTable(w io.Writer, findings []finding.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	b := bufio.NewWriter(w)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEVERITY\tRULE\tWHERE\tFIX\tWHAT")
	for _, f := range findings {
		row := []string{
			f.Severity.String(),
			cut(ci.Printable(f.Rule), maxPlaceRunes),
			cut(ci.Printable(f.Place.String()), maxPlaceRunes),
			cut(ci.Printable(cmp.Or(f.Fix, "-")), maxPlaceRunes),
			cut(ci.Printable(cmp.Or(f.Title, f.Message)), maxMessageRunes),
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return b.Flush()
}
