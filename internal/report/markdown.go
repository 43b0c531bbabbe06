package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/imagewright/imagewright/internal/finding"
)

// maxCellRunes bounds a cell: with maxRows rows a summary stays far below the
// 1 MiB above which GitHub drops it whole.
const maxCellRunes = 300

// WriteMarkdown writes the verdict as a heading and one row a finding, in the
// order given, at most limit rows; a last line counts the rest. Findings come
// from hostile images, so every cell is escaped and cut to a bounded length.
func WriteMarkdown(w io.Writer, verdict string, findings []finding.Finding, limit int) error {
	b := bufio.NewWriter(w) // keeps the first error; Flush returns it
	fmt.Fprintf(b, "### %s\n", Markdown(cut(verdict, maxCellRunes)))
	head := []string{"severity", "rule", "where", "what", "fix"}
	withLayers := tellLayers(findings)
	if withLayers {
		head = append(head, "layer")
	}
	if len(findings) > 0 {
		fmt.Fprintf(b, "\n| %s |\n%s|\n", strings.Join(head, " | "), strings.Repeat("|---", len(head)))
	}
	for _, f := range findings[:min(limit, len(findings))] {
		row := []string{f.Severity.String(), f.Rule, f.Place.String(), accepted(f, f.Message), f.Fix}
		if withLayers {
			row = append(row, layer(f.Place))
		}
		for i, text := range row {
			row[i] = Markdown(cut(text, maxCellRunes))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	if more := len(findings) - limit; more > 0 {
		fmt.Fprintf(b, "\n%d more in the report.\n", more)
	}
	return b.Flush()
}
