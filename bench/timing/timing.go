// Package timing is what a benchmark says of the times it took, to people and to
// programs.
package timing

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Median is the middle one, or the mean of the two in the middle. There must be
// one.
func Median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratio is the median of one to that of another: below 1 the first is faster.
func Ratio(times, to []time.Duration) float64 {
	return Median(times).Seconds() / Median(to).Seconds()
}

// Spread is the median with the extremes around it, or the only time.
func Spread(times []time.Duration) string {
	if len(times) == 1 {
		return fmt.Sprintf("%.2f s", times[0].Seconds())
	}
	return fmt.Sprintf("%.3f s (%.3f–%.3f)", Median(times).Seconds(), slices.Min(times).Seconds(), slices.Max(times).Seconds())
}

// Figure is a benchmark's line for programs, in the format of bench/README.md.
// The goal is an upper bound; what counts is the value as printed.
func Figure(benchmark, name string, value, goal float64) string {
	verdict := "ok"
	if value = math.Round(value*1000) / 1000; value > goal {
		verdict = "short"
	}
	return fmt.Sprintf("BENCH %s %s %.3f <=%.2f %s", benchmark, name, value, goal, verdict)
}
