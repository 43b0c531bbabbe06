package main

import (
	"context"
	"fmt"
	"time"

	"github.com/imagewright/imagewright/bench/timing"
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

// ratio is that of a column to another.
func (s *series) ratio(column, to int) float64 { return timing.Ratio(s.times[column], s.times[to]) }
