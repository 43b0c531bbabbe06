package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/imagewright/imagewright/bench/hello"
)

// scenario is a kind of change to the example, and what each builder took for it.
type scenario struct {
	figure string                            // in the BENCH lines
	what   string                            // for people
	change func(dir string, round int) error // nil: nothing changes
	goal   float64                           // seconds for ours, 0 where there is none

	ours, docker []time.Duration
}

// scenarios are all that is measured, in the order in which they take turns:
// nothing has changed since the one before "nothing" was built.
func scenarios() []*scenario {
	return []*scenario{
		{figure: "page", what: "web/index.html, which is only COPYed", change: hello.ChangePage, goal: 0.5},
		{figure: "noop", what: "nothing"},
		// Most of it is the Go compiler and linker, in RUN, for both builders alike.
		{figure: "code", what: "main.go, compiled in a RUN", change: hello.ChangeCode},
	}
}

// result is all that a run of the benchmark found.
type result struct {
	scenarios []*scenario
	cold      time.Duration // ours, with an empty state folder
	image     string        // what ours built last
}

// measure lets both builders build the same changes in turns.
func measure(ctx context.Context, s setting, ours, docker *builder) (*result, error) {
	r := &result{scenarios: scenarios()}
	last := make(map[*builder]string) // image
	for _, b := range []*builder{ours, docker} {
		fmt.Printf("first build: %s\n", b.name)
		image, took, err := b.build(ctx)
		if err != nil {
			return nil, err
		}
		last[b] = image
		if b == ours {
			r.cold = took
		}
	}
	for round := range s.Runs + 1 { // the first does not count
		fmt.Printf("round %d of %d\n", round, s.Runs)
		order := []*builder{ours, docker}
		if round%2 == 1 {
			slices.Reverse(order) // neither always finds the disk as the other left it
		}
		for _, sc := range r.scenarios {
			for _, b := range order {
				took, err := sc.build(ctx, b, round, last)
				if err != nil {
					return nil, err
				}
				switch {
				case round == 0:
				case b == ours:
					sc.ours = append(sc.ours, took)
				default:
					sc.docker = append(sc.docker, took)
				}
			}
		}
	}
	r.image = last[ours]
	return r, nil
}

// build makes the change of a round and builds it. A builder that missed the
// change, or saw one where there is none, has not done what is measured.
func (sc *scenario) build(ctx context.Context, b *builder, round int, last map[*builder]string) (time.Duration, error) {
	if sc.change != nil {
		if err := sc.change(b.checkout, round+1); err != nil { // 0 is what the first build had
			return 0, err
		}
		if err := hello.Commit(b.checkout, round+1); err != nil {
			return 0, err
		}
	}
	image, took, err := b.build(ctx)
	if err != nil {
		return 0, err
	}
	before := last[b]
	last[b] = image
	switch same := image == before; {
	case same && sc.change != nil:
		return 0, fmt.Errorf("%s: %s changed, and the image is %s still", b.name, sc.what, image)
	case !same && sc.change == nil:
		return 0, fmt.Errorf("%s: nothing changed, and yet the image was %s and is %s", b.name, before, image)
	}
	return took, nil
}
