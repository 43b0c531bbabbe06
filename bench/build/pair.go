package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imagewright/imagewright/bench/hello"
)

// pair is two checkouts with different Dockerfiles, built on one state.
type pair struct {
	builders [2]*builder
	changes  int
}

// inTurn changes both and builds one after the other.
func (p *pair) inTurn(ctx context.Context, _ int) (time.Duration, error) {
	return p.measure(func() error {
		for _, b := range p.builders {
			if _, err := b.run(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// joined is in the log of a build that found another's engine.
const joined = "with other builds"

// atOnce changes both and builds both at the same time: one starts the engine,
// and the other joins it.
func (p *pair) atOnce(ctx context.Context, _ int) (time.Duration, error) {
	return p.measure(func() error {
		var errs [2]error
		var wg sync.WaitGroup
		for i, b := range p.builders {
			wg.Go(func() { _, errs[i] = b.run(ctx) })
		}
		wg.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		if !slices.ContainsFunc(p.builders[:], func(b *builder) bool { return strings.Contains(b.said, joined) }) {
			return fmt.Errorf("neither build joined the other's engine; the second said:\n%s", p.builders[1].said)
		}
		return nil
	})
}

// measure changes both and returns how long build takes. No change comes twice.
func (p *pair) measure(build func() error) (time.Duration, error) {
	for _, b := range p.builders {
		p.changes++
		if err := b.commit(hello.ChangeCode, p.changes); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	err := build()
	took := time.Since(began)
	for _, b := range p.builders {
		if err == nil {
			err = b.check(true)
		}
	}
	return took, err
}
