package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/version"
)

// wantedTags returns the tags to set, narrow ones first: those of the input,
// else those that the tag step made for this very image.
func wantedTags(input []string, workspace, digest string) ([]string, error) {
	tags := input
	if len(tags) == 0 {
		made, err := record.Read[record.Tag](workspace, "tag")
		switch {
		case errors.Is(err, record.ErrNotFound):
			return nil, fault.Usage(errors.New("input tags: there are no tags to set"), "run imagewright-tag before, or name tags")
		case err != nil:
			return nil, err
		case made.Digest != "" && made.Digest != digest:
			return nil, fault.Usage(fmt.Errorf("the recorded tags are for %q and not for %s", made.Digest, digest), "run imagewright-tag again after build, or name tags")
		case len(made.Tags) == 0:
			return nil, fault.Usage(errors.New("imagewright-tag made no tags"), "see why in its log, or name tags")
		}
		tags = made.Tags
	}
	var wanted []string
	for _, tag := range tags {
		if err := version.CheckName(tag); err != nil {
			return nil, fault.Usage(fmt.Errorf("input tags: %w", err), "")
		}
		if c := version.Parse(tag).Class; c == version.Machinery || c == version.Trash {
			return nil, fault.Usage(fmt.Errorf("input tags: %s has the form of names that registry tools keep for themselves", tag), "choose another name")
		}
		if !slices.Contains(wanted, tag) {
			wanted = append(wanted, tag)
		}
	}
	slices.SortStableFunc(wanted, func(a, b string) int { return cmp.Compare(width(a), width(b)) })
	return wanted, nil
}

// width orders tags from one that names a single image for ever to one that
// every image gets in turn. A reader of a wide tag never sees an image whose
// narrow tag is missing.
func width(tag string) int {
	switch t := version.Parse(tag); {
	case t.Class == version.Version || t.Class == version.Calver:
		return 0
	case t.Class != version.Floating:
		return 1
	case strings.HasPrefix(tag, "latest"):
		return 5
	default:
		return 4 - t.Parts // 1.2, 1, then edge and stable
	}
}

// isImmutable says whether tag is a full version, which nobody expects to move.
func isImmutable(tag string) bool { return version.Parse(tag).Class == version.Version }

// tagMoved is returned when a version tag would get another image.
type tagMoved struct {
	Tag      string // repository:tag
	At, Want v1.Hash
}

func (e *tagMoved) Error() string {
	return fmt.Sprintf("push %s: tag already points to %s, and the image is %s", e.Tag, e.At, e.Want)
}

func (e *tagMoved) Hint() string {
	return "version tags are immutable (set immutable=false to allow)"
}

func (e *tagMoved) ExitCode() int { return fault.ExitRefused }

// look finds out where the tags point in every repository, and refuses to move
// a version tag, before anything is sent anywhere.
func (ts targets) look(ctx context.Context, tags []string) error {
	for _, t := range ts {
		at := make([]v1.Hash, len(tags)) // each goroutine writes its own place
		err := each(ctx, t.jobs, tags, func(ctx context.Context, i int, tag string) (err error) {
			at[i], err = t.at(ctx, tag)
			return err
		})
		if err != nil {
			return fmt.Errorf("push %s: %w", t.repo, err)
		}
		for i, tag := range tags {
			if at[i] != (v1.Hash{}) {
				t.before[tag] = at[i]
			}
		}
	}
	var refused []error
	for _, t := range ts {
		for _, tag := range tags {
			if err := t.mayMove(tag, t.before[tag]); err != nil {
				refused = append(refused, err)
			}
		}
	}
	return errors.Join(refused...)
}

// at is the digest that the tag points to; zero where there is no such tag.
func (t *target) at(ctx context.Context, tag string) (v1.Hash, error) {
	d, err := t.client.Head(ctx, t.repo.Tag(tag))
	if registry.IsNotFound(err) {
		return v1.Hash{}, nil
	}
	return d.Digest, err
}

func (t *target) mayMove(tag string, at v1.Hash) error {
	if !t.immutable || !isImmutable(tag) || at == (v1.Hash{}) || at == t.content.root {
		return nil
	}
	return &tagMoved{t.repo.Tag(tag).String(), at, t.content.root}
}

// moveTags points the tags to the image: one tag in every repository, then the
// next wider one. All content is everywhere by now.
func (ts targets) moveTags(ctx context.Context, log *slog.Logger, tags []string) error {
	for _, tag := range tags {
		for _, t := range ts {
			if err := ctx.Err(); err != nil {
				return ts.halfDone(context.Cause(ctx))
			}
			moved, err := t.move(ctx, tag)
			if err != nil {
				return ts.halfDone(err)
			}
			t.tags = append(t.tags, tag)
			log.Info("tag", "name", t.repo.Tag(tag).String(), "moved", moved)
		}
	}
	return nil
}

// move points one tag to the image and reads it back.
func (t *target) move(ctx context.Context, tag string) (moved bool, err error) {
	ref := t.repo.Tag(tag)
	root := t.content.manifests[len(t.content.manifests)-1]
	if t.before[tag] == root.digest {
		return false, nil
	}
	if isImmutable(tag) && t.immutable {
		// Somebody else may have set it since: no registry has a way to set a
		// tag only if it is not there.
		now, err := t.at(ctx, tag)
		if err == nil {
			err = t.mayMove(tag, now)
		}
		if err != nil {
			return false, err
		}
	}
	if err := t.client.PutManifest(ctx, ref, string(root.mediaType), root.raw); err != nil {
		return false, fmt.Errorf("push %s: %w", ref, err)
	}
	now, err := t.at(ctx, tag)
	if err != nil {
		return false, fmt.Errorf("push %s: read back: %w", ref, err)
	}
	if now != root.digest {
		return false, fault.Failed(fmt.Errorf("push %s: the tag was set to %s and points to %s now", ref, root.digest, now),
			"another push set it at the same time; find out which of the two should have it")
	}
	return true, nil
}

// halfDone adds to err which tags point to the image already.
func (ts targets) halfDone(err error) error {
	var done []string
	for _, t := range ts {
		for _, tag := range t.tags {
			done = append(done, t.repo.Tag(tag).String())
		}
	}
	if len(done) == 0 {
		return err
	}
	return fmt.Errorf("%w (set before that: %s)", err, strings.Join(done, ", "))
}
