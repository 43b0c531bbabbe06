// Command rebuild measures how long an image takes to build again after a small
// change, with imagewright-build and with docker build, as whole processes.
// `make bench-rebuild` runs it; bench/README.md says what it measures and why.
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
		fmt.Fprintln(os.Stderr, "bench rebuild:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int) (err error) {
	if runs < minRuns {
		return fmt.Errorf("-runs=%d is too few for a median; want %d or more", runs, minRuns)
	}
	if os.Geteuid() != 0 {
		return errors.New("it builds with runc and starts dockerd, which need root; run: sudo make bench-rebuild")
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
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
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

// compare prepares both builders, lets them take turns, and prints the result.
func compare(ctx context.Context, s setting) (err error) {
	bases, err := makeBases(ctx, filepath.Join(s.root, ".cache", "images"))
	if err != nil {
		return err
	}
	ours, stop, err := newImagewright(ctx, s, bases)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	docker, stop, err := newDocker(ctx, s, bases)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	peers, err := s.versions(ctx, docker)
	if err != nil {
		return err
	}
	before := load()
	result, err := measure(ctx, s, ours, docker)
	if err != nil {
		return err
	}
	result.print(os.Stdout, peers, before)
	return nil
}

// programs are the executables that take part, by path.
type programs struct {
	build   string // bin/imagewright-build
	docker  string
	dockerd string
	runc    string
}

// findPrograms finds them all or says which package brings what is missing.
func findPrograms(root string) (p programs, err error) {
	p.build = filepath.Join(root, "bin", "imagewright-build")
	if _, err := os.Stat(p.build); err != nil {
		return p, fmt.Errorf("%w; run: make build", err)
	}
	// Docker's packages install the client here. One elsewhere on PATH may be
	// another version than the daemon, or lack the buildx that newer ones need.
	p.docker = "/usr/bin/docker"
	if _, err := os.Stat(p.docker); err != nil {
		p.docker = "docker"
	}
	for _, peer := range []struct {
		path        *string
		name, ofApt string
	}{
		{&p.docker, p.docker, "docker.io"},
		{&p.dockerd, "dockerd", "docker.io"},
		{&p.runc, "runc", "runc"},
	} {
		if *peer.path, err = exec.LookPath(peer.name); err != nil {
			return p, fmt.Errorf("there is no %s here to compare with; run: apt-get install --no-install-recommends %s", peer.name, peer.ofApt)
		}
	}
	return p, nil
}
