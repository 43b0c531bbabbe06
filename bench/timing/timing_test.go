package timing

import (
	"testing"
	"time"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, tc := range []struct {
		name  string
		times []time.Duration
		want  time.Duration
	}{
		{"of an odd number, in any order", []time.Duration{9, 1, 5}, 5},
		{"of an even number, between the two", []time.Duration{8, 2, 4, 90}, 6},
		{"of one", []time.Duration{7}, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Median(tc.times); got != tc.want {
				t.Errorf("Median(%v) = %d, want %d", tc.times, got, tc.want)
			}
		})
	}
}

func TestFigureSaysWhetherTheGoalIsMet(t *testing.T) {
	for _, tc := range []struct {
		name        string
		value, goal float64
		want        string
	}{
		{"below", 0.6184, 1, "BENCH rebuild copy-ratio 0.618 <=1.00 ok"},
		{"the goal itself", 0.2, 0.2, "BENCH rebuild copy-ratio 0.200 <=0.20 ok"},
		{"above by less than is printed", 0.2004, 0.2, "BENCH rebuild copy-ratio 0.200 <=0.20 ok"},
		{"above", 1.001, 1, "BENCH rebuild copy-ratio 1.001 <=1.00 short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Figure("rebuild", "copy-ratio", tc.value, tc.goal); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestSpreadOfOneTimeIsThatTime(t *testing.T) {
	for want, times := range map[string][]time.Duration{
		"40.00 s":               {40 * time.Second},
		"0.200 s (0.100–0.300)": {100 * time.Millisecond, 300 * time.Millisecond, 200 * time.Millisecond},
	} {
		if got := Spread(times); got != want {
			t.Errorf("Spread(%v) = %q, want %q", times, got, want)
		}
	}
}
