package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
)

// Widths of the table's columns that hold free text, in runes.
const (
	maxPlaceRunes   = 60
	maxLayerRunes   = 40
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
	withLayers := tellLayers(findings)
	head := []string{"SEVERITY", "RULE", "WHERE", "FIX", "WHAT"}
	if withLayers {
		head = slices.Insert(head, 3, "LAYER")
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, f := range findings {
		cell := func(text string, runes int) string { return cut(ci.Printable(cmp.Or(text, "-")), runes) }
		row := []string{
			f.Severity.String(),
			cell(f.Rule, maxPlaceRunes),
			cell(f.Place.String(), maxPlaceRunes),
			cell(f.Fix, maxPlaceRunes),
			cell(accepted(f, short(f)), maxMessageRunes),
		}
		if withLayers {
			row = slices.Insert(row, 3, cell(layer(f.Place), maxLayerRunes))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return b.Flush()
}
