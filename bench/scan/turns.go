package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/imagewright/imagewright/bench/timing"
	"github.com/imagewright/imagewright/bench/trial"
)

// series is a line of the table: what was scanned, and what it cost ours and
// trivy, or ours alone.
type series struct {
	what        string
	ours, trivy []cost
}

// take measures in turns: one round that does not count and as many as runs
// that do. Who goes first alternates.
func (s setting) take(ctx context.Context, what string, ours, trivy func(context.Context, int) (cost, error)) (*series, error) {
	line := &series{what: what}
	for round := range s.Runs + 1 {
		fmt.Printf("%s: round %d of %d\n", what, round, s.Runs)
		takers := []func() error{func() error { return once(ctx, round, ours, &line.ours) }}
		if trivy != nil {
			takers = append(takers, func() error { return once(ctx, round, trivy, &line.trivy) })
		}
		for n := range takers {
			if err := takers[(round+n)%len(takers)](); err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	return line, nil
}

func once(ctx context.Context, round int, take func(context.Context, int) (cost, error), into *[]cost) error {
	c, err := take(ctx, round)
	if err == nil && round > 0 {
		*into = append(*into, c)
	}
	return err
}

// measure fills the lines of the table.
func (s setting) measure(ctx context.Context, all subjects, r *result) (err error) {
	for _, m := range []struct {
		to       **series
		of       subject
		scanners string
	}{
		{&r.listsVuln, all.lists, "vuln"},
		{&r.listsSecret, all.lists, "vuln,secret"},
		{&r.appVuln, all.app, "vuln"},
		{&r.appSecret, all.app, "vuln,secret"},
	} {
		if *m.to, err = s.take(ctx, m.of.name+", "+m.scanners, s.ourFirst(m.of, m.scanners), s.trivyFirst(m.of, m.scanners)); err != nil {
			return err
		}
	}
	if r.again, err = s.take(ctx, "the same again, vuln,secret", s.ourAgain(all.app), s.trivyAgain(all.app)); err != nil {
		return err
	}
	if r.changed, err = s.take(ctx, "one file changed, vuln,secret", s.ourChanged(all.app), s.trivyChanged(all.app)); err != nil {
		return err
	}
	r.start, err = s.take(ctx, "start", s.version(s.scan), s.version(s.trivy))
	return err
}

func (s setting) ourArgs(of subject, scanners string) []string {
	return []string{"--source=" + of.archive, "--format=json", "--scanners=" + scanners, "--cache-dir=" + s.ourCache(), "--skip-db-update", "--fail-on=none", "--log-level=warn"}
}

func (s setting) trivyArgs(of subject, scanners, backend string) []string {
	return []string{"image", "--input=" + of.archive, "--format=json", "--scanners=" + scanners, "--cache-dir=" + s.trivyCache(), "--cache-backend=" + backend,
		"--skip-db-update", "--skip-java-db-update", "--offline-scan", "--disable-telemetry", "--skip-version-check", "--quiet"}
}

// ourFirst is a scan of layers that nobody has seen.
func (s setting) ourFirst(of subject, scanners string) func(context.Context, int) (cost, error) {
	return func(ctx context.Context, _ int) (cost, error) {
		if err := os.RemoveAll(filepath.Join(s.ourCache(), "results")); err != nil {
			return cost{}, err
		}
		return s.run(ctx, s.scan, s.ourArgs(of, scanners)...)
	}
}

func (s setting) trivyFirst(of subject, scanners string) func(context.Context, int) (cost, error) {
	return func(ctx context.Context, _ int) (cost, error) {
		return s.run(ctx, s.trivy, s.trivyArgs(of, scanners, "memory")...)
	}
}

// ourAgain is a scan of layers that were scanned before: at the latest in the
// round that does not count.
func (s setting) ourAgain(of subject) func(context.Context, int) (cost, error) {
	return func(ctx context.Context, _ int) (cost, error) {
		return s.run(ctx, s.scan, s.ourArgs(of, "vuln,secret")...)
	}
}

func (s setting) trivyAgain(of subject) func(context.Context, int) (cost, error) {
	return func(ctx context.Context, _ int) (cost, error) {
		return s.run(ctx, s.trivy, s.trivyArgs(of, "vuln,secret", "fs")...)
	}
}

func (s setting) ourChanged(of subject) func(context.Context, int) (cost, error) {
	return s.changing(of, 0, s.ourAgain)
}

func (s setting) trivyChanged(of subject) func(context.Context, int) (cost, error) {
	return s.changing(of, 1000, s.trivyAgain)
}

// changing scans an image whose last layer nobody has seen.
func (s setting) changing(of subject, offset int, scan func(subject) func(context.Context, int) (cost, error)) func(context.Context, int) (cost, error) {
	return func(ctx context.Context, round int) (cost, error) {
		now, err := s.changed(of, round+offset)
		if err != nil {
			return cost{}, err
		}
		c, err := scan(now)(ctx, round)
		return c, errors.Join(err, os.Remove(now.archive))
	}
}

// version is the shortest life of a program.
func (s setting) version(program string) func(context.Context, int) (cost, error) {
	return func(ctx context.Context, _ int) (cost, error) {
		cmd := trial.Command(ctx, program, "--version")
		cmd.Dir, cmd.Env = s.Work, trial.Environ(s.Work)
		start := time.Now()
		_, err := cmd.Output()
		return cost{wall: time.Since(start)}, err
	}
}

func walls(costs []cost) []time.Duration {
	all := make([]time.Duration, len(costs))
	for i, c := range costs {
		all[i] = c.wall
	}
	return all
}

// wallRatio is ours to trivy's.
func (s *series) wallRatio() float64 { return timing.Ratio(walls(s.ours), walls(s.trivy)) }

// peakRatio is ours to trivy's.
func (s *series) peakRatio() float64 { return float64(peak(s.ours)) / float64(peak(s.trivy)) }

// peak is the median.
func peak(costs []cost) int64 {
	all := make([]time.Duration, len(costs)) // a number like any other
	for i, c := range costs {
		all[i] = time.Duration(c.peak)
	}
	return int64(timing.Median(all))
}
