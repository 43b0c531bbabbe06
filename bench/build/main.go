// Command build measures imagewright-build as a BuildKit: how soon it is ready,
// how large it is, and how long small builds take with it in each of its forms,
// against the stock buildkitd and buildctl. `make bench-build` runs it;
// bench/README.md says what it measures and why.
//
// All it makes is in one temporary folder, which is gone when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// minRuns is how many counted runs a median needs before anyone should believe it.
const minRuns = 5

func main() {
	// What is started here dies with this thread (Pdeathsig), so it is to be the
	// one that lives as long as the process.
	runtime.LockOSThread()
	runs := flag.Int("runs", minRuns, "counted runs of each figure, after one that does not count")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *runs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int) (err error) {
	if runs < minRuns {
		return fmt.Errorf("-runs=%d is too few for a median; want %d or more", runs, minRuns)
	}
	if os.Geteuid() != 0 {
		return errors.New("it builds with runc and starts buildkitd, which need root; run: sudo make bench-build")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	example := filepath.Join(root, "examples", "hello-go")
	if _, err := os.Stat(example); err != nil {
		return fmt.Errorf("it runs in the root of the repository: %w", err)
	}
	found, err := findPrograms(root)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "imagewright-bench-")
	if err != nil {
		return err
	}
	cgroups := findCgroups()
	defer func() { err = errors.Join(err, removeNewCgroups(cgroups), checkNothingLeft(work), os.RemoveAll(work)) }()
	return compare(ctx, setting{programs: found, root: root, example: example, work: work, runs: runs})
}

// setting is what one run of the benchmark works with.
type setting struct {
	programs
	root    string // of this repository
	example string // the application that is copied
	work    string // everything that is made is in here
	runs    int
}

// compare takes all measurements and prints them.
func compare(ctx context.Context, s setting) (err error) {
	r := &result{loadBefore: load()}
	if r.sizes, err = measureSizes(s.programs); err != nil {
		return err
	}
	if r.versions, err = s.versions(ctx); err != nil {
		return err
	}
	if err := measureTimes(ctx, s, r); err != nil {
		return err
	}
	r.print(os.Stdout)
	return nil
}

// programs are the executables that take part, by path.
type programs struct {
	build     string // bin/imagewright-build
	variant   string // the same, built with the tag caches
	buildkitd string
	buildctl  string
	runc      string
}

// findPrograms finds them all or says how to get what is missing.
func findPrograms(root string) (p programs, err error) {
	for _, need := range []struct {
		path     *string
		at, make string
	}{
		{&p.build, "bin/imagewright-build", "build"},
		{&p.variant, "bin/tools/imagewright-build-caches", "bench-build"},
		{&p.buildkitd, "bin/tools/buildkitd", "tools"},
		{&p.buildctl, "bin/tools/buildctl", "tools"},
	} {
		*need.path = filepath.Join(root, filepath.FromSlash(need.at))
		if _, err := os.Stat(*need.path); err != nil {
			return p, fmt.Errorf("%w; run: make %s", err, need.make)
		}
	}
	if p.runc, err = exec.LookPath("runc"); err != nil {
		return p, errors.New("there is no runc here for RUN steps; run: apt-get install --no-install-recommends runc")
	}
	return p, nil
}
