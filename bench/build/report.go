package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/imagewright/imagewright/bench/timing"
	"github.com/imagewright/imagewright/bench/trial"
)

// result is all that a run of the benchmark found.
type result struct {
	sizes       []size
	fresh, used *series // columns: serve, buildkitd
	cold        *series // columns: embedded, served, buildctl
	page, noop  *series // likewise
	pair        *series // columns: one after another, at once
	image       string  // what ours built last
	snapshotter string  // of all workers
	versions    []string
	loadBefore  string
}

// figures are the lines of those that have a goal.
func (r *result) figures() []string {
	figure := func(name string, value, goal float64) string { return timing.Figure("build", name, value, goal) }
	seconds := func(times []time.Duration) float64 { return timing.Median(times).Seconds() }
	all := []string{
		figure("start-fresh-seconds", seconds(r.fresh.times[0]), 0.2),
		figure("start-used-seconds", seconds(r.used.times[0]), 0.2),
		figure("start-fresh-ratio", r.fresh.ratio(0, 1), 1),
		figure("start-used-ratio", r.used.ratio(0, 1), 1),
	}
	for _, s := range r.sizes {
		all = append(all, figure(s.figure, s.mb, s.goal))
	}
	return append(all,
		figure("page-seconds", seconds(r.page.times[0]), 0.5),
		figure("noop-seconds", seconds(r.noop.times[0]), 0.5),
		figure("page-served-ratio", r.page.ratio(1, 2), 1.5),
		figure("noop-served-ratio", r.noop.ratio(1, 2), 1.5),
		figure("pair-ratio", r.pair.ratio(1, 0), 1),
	)
}

// print writes the tables, what took part, and the figures for programs.
func (r *result) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nsize, stripped\tMB (10⁶ bytes)")
	for _, s := range r.sizes {
		fmt.Fprintf(w, "%s\t%.2f\n", s.what, s.mb)
	}
	w.Flush() // an error would be that of a closed terminal

	fmt.Fprintln(w, "\nfrom process start to an answer\timagewright-build serve\tbuildkitd\tratio")
	for _, s := range []*series{r.fresh, r.used} {
		s.row(w, fmt.Sprintf("%.2f", s.ratio(0, 1)))
	}
	w.Flush()

	fmt.Fprintln(w, "\nwhat changed\tembedded\tserved\tbuildctl\tembedded : served : buildctl")
	r.cold.row(w)
	for _, s := range []*series{r.page, r.noop} {
		s.row(w, fmt.Sprintf("%.2f : %.2f : 1", s.ratio(0, 2), s.ratio(1, 2)))
	}
	w.Flush()

	fmt.Fprintln(w, "\ntwo Dockerfiles on one state\tone after another\tat once\tratio")
	r.pair.row(w, fmt.Sprintf("%.2f", r.pair.ratio(1, 0)))
	w.Flush()

	fmt.Fprintf(out, "\nmedian (fastest–slowest) of %d runs after one that does not count\n", len(r.fresh.times[0]))
	for _, version := range r.versions {
		fmt.Fprintln(out, version)
	}
	fmt.Fprintf(out, "layers are kept by %s in both\n", r.snapshotter)
	fmt.Fprintf(out, "machine: %d CPUs, load average %s before and %s after\n", runtime.NumCPU(), r.loadBefore, trial.Load())
	fmt.Fprintf(out, "image: %s\n\n", r.image)
	for _, f := range r.figures() {
		fmt.Fprintln(out, f)
	}
}

// row writes a series as a line of a table, and more cells behind it.
func (s *series) row(w io.Writer, more ...string) {
	cells := []string{s.what}
	for _, times := range s.times {
		cells = append(cells, timing.Spread(times))
	}
	fmt.Fprintln(w, strings.Join(append(cells, more...), "\t"))
}

// versions tells what takes part, a line each. The Makefile builds buildkitd of
// the module that imagewright-build has in it, and without a version of its own.
func (p programs) versions(ctx context.Context) ([]string, error) {
	var lines []string
	for _, program := range []string{p.build, p.runc} {
		version, err := trial.Version(trial.Command(ctx, program, "--version"))
		if err != nil {
			return nil, err
		}
		lines = append(lines, version)
	}
	info, err := buildinfo.ReadFile(p.build)
	if err != nil {
		return nil, err
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/moby/buildkit" {
			lines = append(lines, fmt.Sprintf("BuildKit %s in it, in buildkitd and in buildctl; %s", module.Version, info.GoVersion))
		}
	}
	return lines, nil
}
