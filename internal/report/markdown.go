package report

import (
	"bufio"
	"fmt"
	"io"

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
	if len(findings) > 0 {
		fmt.Fprint(b, "\n| severity | rule | where | what | fix |\n|---|---|---|---|---|\n")
	}
	short := func(s string) string { return Markdown(cut(s, maxCellRunes)) }
	for _, f := range findings[:min(limit, len(findings))] {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", f.Severity, short(f.Rule), short(f.Place.String()), short(f.Message), short(f.Fix))
	}
	if more := len(findings) - limit; more > 0 {
		fmt.Fprintf(b, "\n%d more in the report.\n", more)
	}
	return b.Flush()
}
