// Package trial is one run of a benchmark: how its program begins and ends, and
// how those that are compared are run.
package trial

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// minRuns is how many counted runs a median needs before anyone should believe it.
const minRuns = 5

// Trial is what one run of a benchmark works with.
type Trial struct {
	Root    string // of this repository
	Example string // folder of the application that is built
	Work    string // everything that is made is in here; gone in the end
	Runs    int    // counted ones of each figure, after one that does not count
}

// Main runs a benchmark and returns the exit code of its program. It is called
// by main itself. The benchmark's name is that of its target, bench-NAME; because
// says what needs root: "it starts dockerd, which needs".
func Main(name, because string, measure func(context.Context, Trial) error) int {
	// What is started here dies with this thread (Pdeathsig), so it is to be the
	// one that lives as long as the process.
	runtime.LockOSThread()
	runs := flag.Int("runs", minRuns, "counted runs of each figure, after one that does not count")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := check(*runs)
	if err == nil && os.Geteuid() != 0 {
		err = fmt.Errorf("%s root; run: sudo make bench-%s", because, name)
	}
	if err == nil {
		err = run(ctx, *runs, measure)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", name, err)
		return 1
	}
	return 0
}

func check(runs int) error {
	if runs < minRuns {
		return fmt.Errorf("-runs=%d is too few for a median; want %d or more", runs, minRuns)
	}
	return nil
}

// run measures in a temporary folder.
func run(ctx context.Context, runs int, measure func(context.Context, Trial) error) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	example := filepath.Join(root, "examples", "hello-go")
	if _, err := os.Stat(example); err != nil {
		return fmt.Errorf("it runs in the root of the repository: %w", err)
	}
	work, err := os.MkdirTemp("", "imagewright-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	return measure(ctx, Trial{Root: root, Example: example, Work: work, Runs: runs})
}

// Load is the machine's load average of the last one, five and fifteen minutes.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
