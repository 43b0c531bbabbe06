package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"text/tabwriter"

	"github.com/imagewright/imagewright/bench/timing"
	"github.com/imagewright/imagewright/bench/trial"
)

// print writes the table, what took part, and the figures for programs.
func (r *result) print(out io.Writer, peers []string, loadBefore string) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nwhat changed\timagewright-build\tdocker build\tratio")
	for _, sc := range r.scenarios {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\n", sc.what, timing.Spread(sc.ours), timing.Spread(sc.docker), sc.ratio())
	}
	fmt.Fprintf(w, "everything (cold, bases pulled over loopback)\t%.2f s\t\t\n", r.cold.Seconds())
	w.Flush() // an error would be that of a closed terminal
	fmt.Fprintf(out, "\nmedian (fastest–slowest) of %d runs after one that does not count\n", len(r.scenarios[0].ours))
	for _, peer := range peers {
		fmt.Fprintln(out, peer)
	}
	fmt.Fprintf(out, "machine: %d CPUs, load average %s before and %s after\n", runtime.NumCPU(), loadBefore, trial.Load())
	fmt.Fprintf(out, "image: %s\n\n", r.image)
	for _, sc := range r.scenarios {
		if sc.goal > 0 {
			fmt.Fprintln(out, figure(sc.figure+"-seconds", timing.Median(sc.ours).Seconds(), sc.goal))
		}
		fmt.Fprintln(out, figure(sc.figure+"-ratio", sc.ratio(), 1))
	}
}

// ratio is ours to docker's: below 1 ours is faster.
func (sc *scenario) ratio() float64 { return timing.Ratio(sc.ours, sc.docker) }

func figure(name string, value, goal float64) string {
	return timing.Figure("rebuild", name, value, goal)
}

// versions tells what took part, a line each.
func (p programs) versions(ctx context.Context, docker *builder) ([]string, error) {
	const server = "docker {{.Client.Version}}, dockerd {{.Server.Version}}{{range .Server.Components}}{{if eq .Name \"containerd\"}}, containerd {{.Version}}{{end}}{{end}}"
	var lines []string
	for _, cmd := range []*exec.Cmd{
		trial.Command(ctx, p.build, "--version"),
		docker.command(ctx, "version", "--format", server),
		trial.Command(ctx, p.runc, "--version"),
	} {
		version, err := trial.Version(cmd)
		if err != nil {
			return nil, err
		}
		lines = append(lines, version)
	}
	return lines, nil
}
