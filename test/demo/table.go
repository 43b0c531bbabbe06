package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
)

// table is what the demo ends with.
type table struct {
	rows  []row
	total time.Duration
}

type row struct {
	step   string
	took   time.Duration
	result string
}

func (t *table) add(step string, took time.Duration, result string) {
	t.rows = append(t.rows, row{step, took, result})
	t.total += took
}

func (t *table) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nstep\ttime\tresult")
	for _, r := range t.rows {
		first, _, _ := strings.Cut(r.result, "\n")
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.step, seconds(r.took), first)
	}
	fmt.Fprintf(w, "all\t%s\t\n", seconds(t.total))
	w.Flush() // an error would be that of a closed terminal
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func humanSize(n int64) string { return units.HumanSize(float64(n)) }

func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

// counts puts numbers of findings in words, worst first.
func counts(by map[string]int) string {
	var words []string
	for _, severity := range []string{"CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"} {
		if n := by[severity]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, strings.ToLower(severity)))
		}
	}
	if len(words) == 0 {
		return "no findings"
	}
	return strings.Join(slices.Clip(words), ", ")
}
