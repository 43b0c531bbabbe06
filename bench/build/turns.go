package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// turn does what is measured in a round, and returns how long it took.
type turn func(ctx context.Context, round int) (time.Duration, error)

// series is a line of a table: what was done, and how long each taker took, in
// the order of the table's columns.
type series struct {
	what  string
	times [][]time.Duration
}

// takeTurns measures takers in turns: one round that does not count and as many
// as runs that do. Each goes first in its turn: nobody always finds the machine
// as the same other left it.
func takeTurns(ctx context.Context, what string, runs int, takers ...turn) (*series, error) {
	s := &series{what, make([][]time.Duration, len(takers))}
	for round := range runs + 1 {
		fmt.Printf("%s: round %d of %d\n", what, round, runs)
		for n := range takers {
			i := (round + n) % len(takers)
			took, err := takers[i](ctx, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			if round > 0 {
				s.times[i] = append(s.times[i], took)
			}
		}
	}
	return s, nil
}

// ratio is a column's median to another's: below 1 the first is faster.
func (s *series) ratio(column, to int) float64 {
	return median(s.times[column]).Seconds() / median(s.times[to]).Seconds()
}

// median is the middle one, or the mean of the two in the middle.
func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spread is the median with the extremes around it.
func spread(times []time.Duration) string {
	if len(times) == 1 {
		return fmt.Sprintf("%.2f s", times[0].Seconds())
	}
	return fmt.Sprintf("%.3f s (%.3f–%.3f)", median(times).Seconds(), slices.Min(times).Seconds(), slices.Max(times).Seconds())
}
