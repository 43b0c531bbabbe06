package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"

	"github.com/imagewright/imagewright/bench/timing"
	"github.com/imagewright/imagewright/bench/trial"
)

// result is all that a run of the benchmark found.
type result struct {
	listsVuln, listsSecret, appVuln, appSecret *series
	again, changed, start                      *series

	sizes      [2]float64 // of the programs, MB of 10⁶ bytes
	programs   []string   // their versions
	loadBefore string
}

func (s setting) versions(ctx context.Context, r *result) error {
	for i, program := range []string{s.scan, s.trivy} {
		version, err := trial.Version(trial.Command(ctx, program, "--version"))
		if err != nil {
			return err
		}
		info, err := os.Stat(program)
		if err != nil {
			return err
		}
		r.programs = append(r.programs, version)
		r.sizes[i] = float64(info.Size()) / 1e6
	}
	r.programs[1] = "trivy " + r.programs[1]
	return nil
}

// print writes the table, what took part, and the figures for programs.
func (r *result) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nscan\timagewright-scan\ttrivy\tratio\tpeak memory, MB\tratio")
	for _, s := range []*series{r.listsVuln, r.listsSecret, r.appVuln, r.appSecret, r.again, r.changed} {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.3f\t%.0f : %.0f\t%.2f\n", s.what, timing.Spread(walls(s.ours)), timing.Spread(walls(s.trivy)), s.wallRatio(),
			float64(peak(s.ours))/1e6, float64(peak(s.trivy))/1e6, s.peakRatio())
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%.3f\t\t\n", r.start.what, timing.Spread(walls(r.start.ours)), timing.Spread(walls(r.start.trivy)), r.start.wallRatio())
	fmt.Fprintf(w, "size of the program\t%.1f MB\t%.1f MB\t%.3f\t\t\n", r.sizes[0], r.sizes[1], r.sizes[0]/r.sizes[1])
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nmedian (fastest–slowest) of %d runs after one that does not count; memory: the sum of the peaks of all processes\n", len(r.start.ours))
	for _, p := range r.programs {
		fmt.Fprintln(out, p)
	}
	fmt.Fprintf(out, "machine: %d CPUs, load average %s before and %s after\n\n", runtime.NumCPU(), r.loadBefore, trial.Load())
	for _, f := range r.figures() {
		fmt.Fprintln(out, f)
	}
	return nil
}

// figures are the lines of those that have a goal.
func (r *result) figures() []string {
	figure := func(name string, value, goal float64) string { return timing.Figure("scan", name, value, goal) }
	seconds := func(s *series) float64 { return timing.Median(walls(s.ours)).Seconds() }
	return []string{
		figure("vuln-ratio", r.listsVuln.wallRatio(), 0.4),
		figure("vuln-memory-ratio", r.listsVuln.peakRatio(), 0.6),
		figure("app-vuln-ratio", r.appVuln.wallRatio(), 0.4),
		figure("app-vuln-memory-ratio", r.appVuln.peakRatio(), 0.6),
		figure("lists-secret-ratio", r.listsSecret.wallRatio(), 0.12),
		figure("app-secret-ratio", r.appSecret.wallRatio(), 0.4),
		figure("again-seconds", seconds(r.again), 0.05),
		figure("changed-seconds", seconds(r.changed), 0.15),
		figure("start-seconds", seconds(r.start), 0.05),
		figure("size-mb", r.sizes[0], 42),
	}
}
