package push

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/registry"
)

// target is one repository.
type target struct {
	client    *registry.Client
	repo      name.Repository
	content   *content
	jobs      int
	immutable bool

	siblings []*target // of the same registry, before this one

	before  map[string]v1.Hash // tag → digest before the push; absent where there was none
	sent    int64              // bytes
	skipped int64              // bytes the registry had
	tags    []string           // that point to the image now
}

// targets are the repositories in the order of the input.
type targets []*target

func newTargets(client *registry.Client, repositories []name.Repository, c *content, in *Inputs) targets {
	var all targets
	for _, repo := range repositories {
		t := &target{client: client, repo: repo, content: c, jobs: in.Jobs, immutable: in.Immutable, before: map[string]v1.Hash{}}
		for _, other := range all {
			if other.repo.RegistryStr() == repo.RegistryStr() {
				t.siblings = append(t.siblings, other)
			}
		}
		all = append(all, t)
	}
	return all
}

// byRegistry runs do for every target: registries at the same time, the
// repositories of one after each other, so that the later can share what the
// earlier have. The first failure stops the rest.
func (ts targets) byRegistry(ctx context.Context, do func(context.Context, *target) error) error {
	var hosts []string
	byHost := map[string]targets{}
	for _, t := range ts {
		host := t.repo.RegistryStr()
		if byHost[host] == nil {
			hosts = append(hosts, host)
		}
		byHost[host] = append(byHost[host], t)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, host := range hosts {
		g.Go(func() error {
			for _, t := range byHost[host] {
				if err := do(ctx, t); err != nil {
					return fmt.Errorf("push %s: %w", t.repo, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// each runs do for every item, at most jobs at a time. The first failure stops
// the rest.
func each[T any](ctx context.Context, jobs int, items []T, do func(context.Context, int, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, item := range items {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // another failed while this one waited its turn
			}
			return do(ctx, i, item)
		})
	}
	return g.Wait()
}

// send brings all content to all targets.
func (ts targets) send(ctx context.Context, log *slog.Logger) error {
	return ts.byRegistry(ctx, func(ctx context.Context, t *target) error {
		if err := t.send(ctx); err != nil {
			return err
		}
		log.Info("content is there", "repository", t.repo.String(), "sent", t.sent, "skipped", t.skipped)
		return nil
	})
}
