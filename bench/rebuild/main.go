// Command rebuild measures how long an image takes to build again after a small
// change, with imagewright-build and with docker build, as whole processes.
// `make bench-rebuild` runs it; bench/README.md says what it measures and why.
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

	"github.com/imagewright/imagewright/bench/hello"
	"github.com/imagewright/imagewright/bench/trial"
)

func main() {
	os.Exit(trial.Main("rebuild", "it builds with runc and starts dockerd, which need", compare))
}

// setting is what one run of the benchmark works with.
type setting struct {
	trial.Trial
	programs
}

// compare prepares both builders, lets them take turns, and prints the result.
func compare(ctx context.Context, t trial.Trial) (err error) {
	found, err := findPrograms(t.Root)
	if err != nil {
		return err
	}
	s := setting{t, found}
	bases, err := hello.MakeBases(ctx, filepath.Join(t.Root, ".cache", "images"))
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
	before := trial.Load()
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
