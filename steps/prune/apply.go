package prune

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry"
)

// Applied is what a run did.
type Applied struct {
	Untagged, Deleted int
	Skipped           []string // what had changed since the plan, with the reason
}

// apply carries plan out on repo. It may be killed at any moment and run again.
//
// Tags go first: to remove one is exact, while deleting a manifest takes all of
// its tags. Then the repository is looked at afresh, and a manifest is deleted
// only if nothing that is there now reaches it: a tag that somebody moved or
// set meanwhile saves what it points to.
func apply(ctx context.Context, plan *Plan, repo repository, log *slog.Logger) (Applied, error) {
	var done Applied
	remaining, err := untagAll(ctx, plan, repo, &done, log)
	if err != nil {
		return done, err
	}
	if len(plan.Delete) == 0 {
		return done, nil
	}
	now, err := take(ctx, plan.Repository, repo)
	if err != nil {
		return done, fmt.Errorf("look again before anything is deleted: %w", err)
	}
	marked := stillNeeded(now, remaining)
	for _, del := range plan.Delete {
		if marked[del.Digest] {
			done.Skipped = append(done.Skipped, fmt.Sprintf("%s: something reaches it again", del.Digest))
			continue
		}
		switch err := repo.Delete(ctx, del.Digest); {
		case registry.IsNotFound(err): // an earlier run has done it
		case registry.IsProtected(err):
			done.Skipped = append(done.Skipped, fmt.Sprintf("%s: the registry says that it is still needed", del.Digest))
		case err != nil:
			return done, deleteError(plan.Repository+"@"+del.Digest.String(), err)
		default:
			done.Deleted++
			log.Debug("deleted", "digest", del.Digest.String(), "why", del.Why)
		}
	}
	return done, verify(ctx, plan, now, repo)
}

// untagAll removes the tags of plan that are as they were. remaining are those
// that only go together with their manifest, because the registry cannot untag.
func untagAll(ctx context.Context, plan *Plan, repo repository, done *Applied, log *slog.Logger) (remaining map[string]v1.Hash, err error) {
	remaining = map[string]v1.Hash{}
	for _, u := range plan.Untag {
		is, err := repo.Resolve(ctx, u.Tag)
		switch {
		case registry.IsNotFound(err):
			continue // an earlier run has done it
		case err != nil:
			return nil, fmt.Errorf("look up %s:%s: %w", plan.Repository, u.Tag, err)
		case is.Digest != u.Digest:
			done.Skipped = append(done.Skipped, fmt.Sprintf("%s: it points to %s now", u.Tag, is.Digest))
			continue
		}
		switch err := repo.Untag(ctx, u.Tag); {
		case errors.Is(err, errUntagUnsupported):
			remaining[u.Tag] = u.Digest
		case registry.IsNotFound(err):
		case err != nil:
			return nil, deleteError(plan.Repository+":"+u.Tag, err)
		default:
			done.Untagged++
			log.Debug("untagged", "tag", u.Tag, "digest", u.Digest.String(), "why", u.Why)
		}
	}
	return remaining, nil
}

// stillNeeded returns what the tags of now reach, but those of going that are
// unchanged.
func stillNeeded(now *Snapshot, going map[string]v1.Hash) map[v1.Hash]bool {
	d := newDecision(now)
	for tag, digest := range going {
		if now.Tags[tag] == digest {
			d.verdicts[tag] = verdict{goes: true}
		}
	}
	return d.mark()
}

// verify looks whether everything is still there that should be.
func verify(ctx context.Context, plan *Plan, before *Snapshot, repo repository) error {
	going := map[string]v1.Hash{}
	for _, u := range plan.Untag {
		going[u.Tag] = u.Digest
	}
	after, err := take(ctx, plan.Repository, repo)
	if err != nil {
		return fmt.Errorf("look whether all that was kept is there: %w", err)
	}
	for tag, digest := range before.Tags {
		if going[tag] == digest {
			continue
		}
		if _, there := after.Tags[tag]; !there {
			return fmt.Errorf("%s:%s (%s) was kept and is gone", plan.Repository, tag, digest)
		}
	}
	for digest, node := range after.Nodes {
		if was := before.Nodes[digest]; node.Missing && was != nil && !was.Missing {
			return fmt.Errorf("%s@%s is gone, but a kept image needs it", plan.Repository, digest)
		}
	}
	return nil
}

// deleteError adds what to do about the commonest refusal.
func deleteError(what string, err error) error {
	err = fmt.Errorf("delete %s: %w", what, err)
	if registry.IsUnsupported(err) {
		return fault.Failed(err, "the registry does not delete; on distribution set storage.delete.enabled: true")
	}
	return err
}
