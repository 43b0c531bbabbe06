package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// times are a taker's, in seconds.
func times(seconds ...float64) (times []time.Duration) {
	for _, s := range seconds {
		times = append(times, time.Duration(s*float64(time.Second)))
	}
	return times
}

func TestReportHasEachFigureOfTheRightColumns(t *testing.T) {
	r := &result{
		sizes: []size{{"size-mb", "the program", 41.5, 42}},
		fresh: &series{"fresh", [][]time.Duration{times(0.1, 0.3, 0.2), times(0.4, 0.4, 0.4)}},
		used:  &series{"used", [][]time.Duration{times(0.25), times(0.2)}},
		cold:  &series{"cold", [][]time.Duration{times(40), times(41), times(42)}},
		page:  &series{"page", [][]time.Duration{times(0.6), times(0.3), times(0.1)}},
		noop:  &series{"noop", [][]time.Duration{times(0.4), times(0.2), times(0.2)}},
		pair:  &series{"pair", [][]time.Duration{times(4), times(3)}},
	}
	var out strings.Builder
	r.print(&out)
	var got []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "BENCH ") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"BENCH build start-fresh-seconds 0.200 <=0.20 ok",
		"BENCH build start-used-seconds 0.250 <=0.20 short",
		"BENCH build start-fresh-ratio 0.500 <=1.00 ok",
		"BENCH build start-used-ratio 1.250 <=1.00 short",
		"BENCH build size-mb 41.500 <=42.00 ok",
		"BENCH build page-seconds 0.600 <=0.50 short",
		"BENCH build noop-seconds 0.400 <=0.50 ok",
		"BENCH build page-served-ratio 3.000 <=1.50 short",
		"BENCH build noop-served-ratio 1.000 <=1.50 ok",
		"BENCH build pair-ratio 0.750 <=1.00 ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, want := range []string{"0.200 s (0.100–0.300)", "40.00 s", "6.00 : 3.00 : 1", "of 3 runs"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables do not say %q:\n%s", want, out.String())
		}
	}
}

func TestEachTakerGoesFirstAndTheFirstRoundDoesNotCount(t *testing.T) {
	var order strings.Builder
	taker := func(name string, took time.Duration) turn {
		return func(_ context.Context, round int) (time.Duration, error) {
			order.WriteString(name)
			return took + time.Duration(round), nil
		}
	}
	s, err := takeTurns(t.Context(), "test", 3, taker("a", 10), taker("b", 20), taker("c", 30))
	if err != nil {
		t.Fatal(err)
	}
	if want := "abcbcacababc"; order.String() != want {
		t.Errorf("the order was %s, want %s", &order, want)
	}
	for i, want := range [][]time.Duration{{11, 12, 13}, {21, 22, 23}, {31, 32, 33}} {
		if !slices.Equal(s.times[i], want) {
			t.Errorf("column %d is %v, want %v", i, s.times[i], want)
		}
	}
}

func TestAFailureEndsTheTurns(t *testing.T) {
	broken := errors.New("broken")
	_, err := takeTurns(t.Context(), "a build", 5, func(context.Context, int) (time.Duration, error) { return 0, broken })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "a build: ") {
		t.Errorf("takeTurns: %v; want what broke, and what was measured", err)
	}
}

func TestABuilderThatMissesAChangeIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name, before, after string
		changed, ok         bool
	}{
		{"it saw the change", "a", "b", true, true},
		{"it missed it", "a", "a", true, false},
		{"nothing changed", "a", "a", false, true},
		{"it saw one where there is none", "a", "b", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := &builder{last: tc.before, image: func() (string, error) { return tc.after, nil }}
			if err := b.check(tc.changed); (err == nil) != tc.ok {
				t.Errorf("from %s to %s, changed=%v: %v", tc.before, tc.after, tc.changed, err)
			}
		})
	}
}

// A test's own binary has neither: it would be measured with what no user gets.
func TestAProgramOfAnotherFormIsNotMeasured(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkForm(self, true); err == nil {
		t.Error("the test's own binary passes for a stripped one with the tag caches")
	}
}

func TestMissingPeerIsNamedWithItsTarget(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "bin", "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"bin/imagewright-build", "bin/tools/imagewright-build-caches"} {
		if err := os.WriteFile(filepath.Join(root, program), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := findPrograms(root)
	if err == nil || !strings.Contains(err.Error(), "buildkitd") || !strings.Contains(err.Error(), "run: make tools") {
		t.Errorf("without buildkitd: %v; it should say make tools", err)
	}
}

func TestAProcessThatIsLeftIsFound(t *testing.T) {
	work := t.TempDir()
	cmd := exec.Command("sleep", "60")
	cmd.Dir = work
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := processesOf(work)
	if err := errors.Join(cmd.Process.Kill(), ignoreKilled(cmd.Wait())); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || !strings.Contains(found[0], "sleep") {
		t.Errorf("found %q, want the sleep that works in %s", found, work)
	}
	if err := checkNothingLeft(work); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func ignoreKilled(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}
