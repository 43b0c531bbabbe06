package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes the table, what took part, and the figures for programs.
func (r *result) print(out io.Writer, peers []string, loadBefore string) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nwhat changed\timagewright-build\tdocker build\tratio")
	for _, sc := range r.scenarios {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\n", sc.what, spread(sc.ours), spread(sc.docker), sc.ratio())
	}
	fmt.Fprintf(w, "everything (cold, bases pulled over loopback)\t%.2f s\t\t\n", r.cold.Seconds())
	w.Flush() // an error would be that of a closed terminal
	fmt.Fprintf(out, "\nmedian (fastest–slowest) of %d runs after one that does not count\n", len(r.scenarios[0].ours))
	for _, peer := range peers {
		fmt.Fprintln(out, peer)
	}
	fmt.Fprintf(out, "machine: %d CPUs, load average %s before and %s after\n", runtime.NumCPU(), loadBefore, load())
	fmt.Fprintf(out, "image: %s\n\n", r.image)
	for _, sc := range r.scenarios {
		if sc.goal > 0 {
			fmt.Fprintln(out, figure(sc.figure+"-seconds", median(sc.ours).Seconds(), sc.goal))
		}
		fmt.Fprintln(out, figure(sc.figure+"-ratio", sc.ratio(), 1))
	}
}

// ratio is ours to docker's: below 1 ours is faster.
func (sc *scenario) ratio() float64 {
	return median(sc.ours).Seconds() / median(sc.docker).Seconds()
}

// figure is the line for programs. The goal is an upper bound; what counts is
// the value as printed.
func figure(name string, value, goal float64) string {
	verdict := "ok"
	if value = math.Round(value*1000) / 1000; value > goal {
		verdict = "short"
	}
	return fmt.Sprintf("BENCH rebuild %s %.3f <=%.2f %s", name, value, goal, verdict)
}

// spread is the median with the extremes around it.
func spread(times []time.Duration) string {
	return fmt.Sprintf("%.2f s (%.2f–%.2f)", median(times).Seconds(), slices.Min(times).Seconds(), slices.Max(times).Seconds())
}

// versions tells what took part, a line each.
func (p programs) versions(ctx context.Context, docker *builder) ([]string, error) {
	const server = "docker {{.Client.Version}}, dockerd {{.Server.Version}}{{range .Server.Components}}{{if eq .Name \"containerd\"}}, containerd {{.Version}}{{end}}{{end}}"
	var lines []string
	for _, args := range [][]string{
		{p.build, "--version"},
		{p.docker, "version", "--format", server},
		{p.runc, "--version"},
	} {
		out, err := docker.command(ctx, docker.checkout, args[0], args[1:]...).Output()
		if err != nil {
			return nil, fmt.Errorf("ask %s for its version: %w", args[0], err)
		}
		first, _, _ := strings.Cut(string(out), "\n")
		lines = append(lines, first)
	}
	return lines, nil
}

// load is the machine's load average of the last one, five and fifteen minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
