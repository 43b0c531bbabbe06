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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/imagewright/imagewright/bench/trial"
)

func main() {
	os.Exit(trial.Main("build", "it builds with runc and starts buildkitd, which need", compare))
}

// setting is what one run of the benchmark works with.
type setting struct {
	trial.Trial
	programs
}

// compare takes all measurements, looks for what they left, and prints them.
func compare(ctx context.Context, t trial.Trial) (err error) {
	found, err := findPrograms(t.Root)
	if err != nil {
		return err
	}
	cgroups := findCgroups()
	defer func() { err = errors.Join(err, removeNewCgroups(cgroups), checkNothingLeft(t.Work)) }()
	r := &result{loadBefore: trial.Load()}
	if r.sizes, err = measureSizes(found); err != nil {
		return err
	}
	if r.versions, err = found.versions(ctx); err != nil {
		return err
	}
	if err := measureTimes(ctx, setting{t, found}, r); err != nil {
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
