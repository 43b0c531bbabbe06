package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/imagewright/imagewright/bench/hello"
	"github.com/imagewright/imagewright/test/registry"
)

// measureTimes starts what the builds need, and takes all times. The starts come
// last: by then the states have been used.
func measureTimes(ctx context.Context, s setting, r *result) (err error) {
	server, err := registry.Start(ctx, registry.Options{Dir: filepath.Join(s.Work, "registry")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	images, err := hello.MakeBases(ctx, filepath.Join(s.Root, ".cache", "images"))
	if err != nil {
		return err
	}
	bases, err := hello.PushBases(ctx, server.Addr(), images)
	if err != nil {
		return err
	}
	serve := newServe(s)
	stock, err := newBuildkitd(s)
	if err != nil {
		return err
	}
	if err := measureBuilds(ctx, s, bases, serve, stock, r); err != nil {
		return err
	}
	if err := measurePair(ctx, s, bases, r); err != nil {
		return err
	}
	if r.fresh, err = takeTurns(ctx, "start on an empty state", s.Runs, serve.onFresh, stock.onFresh); err != nil {
		return err
	}
	r.used, err = takeTurns(ctx, "start on a used state", s.Runs, serve.onUsed, stock.onUsed)
	return err
}

// embedded are the arguments of imagewright-build for a BuildKit of its own.
func embedded(s setting) []string {
	return []string{"--builder=embedded", "--state-dir=" + filepath.Join(s.Work, "embedded", "state"), "--runtime=" + s.runc}
}

// measureBuilds measures the builds of one at a time.
func measureBuilds(ctx context.Context, s setting, bases []string, serve, stock *launch, r *result) (err error) {
	var snapshotters []string
	for _, l := range []*launch{serve, stock} {
		server, startErr := l.start(ctx, l.used())
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, server.stop()) }()
		snapshotters = append(snapshotters, server.snapshotter)
	}
	if r.snapshotter = snapshotters[0]; r.snapshotter != snapshotters[1] {
		return fmt.Errorf("the workers are not alike: layers are kept by %s here and by %s in buildkitd", snapshotters[0], snapshotters[1])
	}
	ours, err := newImagewright(s, "imagewright-build", filepath.Join(s.Work, "embedded"), bases, embedded(s)...)
	if err != nil {
		return err
	}
	served, err := newImagewright(s, "imagewright-build --builder", filepath.Join(s.Work, "served"), bases, "--builder="+serve.addr())
	if err != nil {
		return err
	}
	theirs, err := newBuildctl(s, filepath.Join(s.Work, "buildctl"), stock.addr(), bases)
	if err != nil {
		return err
	}
	r.cold = &series{what: "everything (cold, bases pulled over loopback)"}
	for _, b := range []*builder{ours, served, theirs} {
		fmt.Printf("first build: %s\n", b.name)
		took, err := b.build(ctx, true)
		if err != nil {
			return err
		}
		r.cold.times = append(r.cold.times, []time.Duration{took})
	}
	const page = "web/index.html, which is only COPYed"
	if r.page, err = takeTurns(ctx, page, s.Runs, ours.after(hello.ChangePage), served.after(hello.ChangePage), theirs.after(hello.ChangePage)); err != nil {
		return err
	}
	if r.noop, err = takeTurns(ctx, "nothing", s.Runs, ours.after(nil), served.after(nil), theirs.after(nil)); err != nil {
		return err
	}
	if r.image = ours.last; r.image != served.last {
		return fmt.Errorf("of the same commit one builder makes %s and the other %s", ours.last, served.last)
	}
	return nil
}

// measurePair measures two builds on the state that a build has left, one after
// another and at once.
func measurePair(ctx context.Context, s setting, bases []string, r *result) error {
	var p pair
	for i, name := range []string{"first", "second"} {
		b, err := newImagewright(s, "imagewright-build, the "+name+" of two", filepath.Join(s.Work, name), bases, embedded(s)...)
		if err != nil {
			return err
		}
		p.builders[i] = b
	}
	if err := hello.ChangeDockerfile(p.builders[1].checkout); err != nil {
		return err
	}
	var err error
	r.pair, err = takeTurns(ctx, "main.go in both, compiled in a RUN", s.Runs, p.inTurn, p.atOnce)
	return err
}
