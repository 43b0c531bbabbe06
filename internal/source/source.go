// Package source tells the facts of a checkout: commit, date, branch, tags,
// version file. It needs no git program, and does not mind who owns the files,
// a detached HEAD, a shallow clone, a linked worktree or a submodule.
//
// Of go-git it uses the storage alone. The rest of it (SSH and HTTP transports,
// OpenPGP) would add three megabytes to every program that asks for a commit's
// date, and reach a network from programs that need none.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// ErrNotRepository is returned where neither the directory nor one above it is
// a git checkout.
var ErrNotRepository = errors.New("no git repository")

// Facts are what a checkout tells of itself. A field is empty where it does
// not tell; nothing is guessed.
type Facts struct {
	Root          string    // top of the working tree, absolute
	Repository    string    // web address of remote origin, without credentials; empty when it is a local path
	Revision      string    // commit at HEAD, full; empty before the first commit
	Date          time.Time // when that commit was made (committer's date), UTC
	Branch        string    // checked out branch; empty when HEAD is detached, as it is in most CIs
	Tags          []string  // names of the tags at HEAD, sorted; annotated ones too
	DefaultBranch string    // of origin, where the clone recorded it
	Shallow       bool      // history, and perhaps tags, are cut short
}

// Read returns the facts of the checkout that dir is in: dir itself or the
// nearest directory above with a .git. It only reads.
//
// Errors: [ErrNotRepository]; everything else is a repository that cannot be
// read.
func Read(ctx context.Context, dir string) (Facts, error) {
	repo, err := open(dir)
	if err != nil {
		return Facts{}, err
	}
	facts, err := repo.facts(ctx)
	if err != nil {
		return Facts{}, fmt.Errorf("read git repository %s: %w", repo.root, err)
	}
	return facts, nil
}

func (r *repository) facts(ctx context.Context) (Facts, error) {
	facts := Facts{Root: r.root, DefaultBranch: r.defaultBranch(), Shallow: r.shallow()}
	config, err := r.config()
	if err != nil {
		return Facts{}, err
	}
	if err := readable(config); err != nil {
		return Facts{}, err
	}
	facts.Repository = WebURL(originURL(config))

	head, err := r.storage.Reference(plumbing.HEAD)
	if err != nil {
		return Facts{}, fmt.Errorf("HEAD: %w", err)
	}
	if head.Type() == plumbing.SymbolicReference && head.Target().IsBranch() {
		facts.Branch = head.Target().Short()
	}
	commit, err := storer.ResolveReference(r.storage, plumbing.HEAD)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return facts, nil // no commit yet
	}
	if err != nil {
		return Facts{}, fmt.Errorf("HEAD: %w", err)
	}
	facts.Revision = commit.Hash().String()
	if facts.Date, err = commitDate(r.storage, commit.Hash()); err != nil {
		return Facts{}, fmt.Errorf("commit %s: %w", facts.Revision, err)
	}
	if facts.Tags, err = tagsAt(ctx, r.storage, commit.Hash()); err != nil {
		return Facts{}, fmt.Errorf("tags: %w", err)
	}
	return facts, nil
}

// defaultBranch is what refs/remotes/origin/HEAD points to. A clone writes it;
// most CIs fetch instead, and have none.
func (r *repository) defaultBranch() string {
	const prefix = "refs/remotes/origin/"
	ref, err := r.storage.Reference(prefix + "HEAD")
	if err != nil || ref.Type() != plumbing.SymbolicReference {
		return ""
	}
	target := ref.Target().String()
	if len(target) <= len(prefix) || target[:len(prefix)] != prefix {
		return ""
	}
	return target[len(prefix):]
}

func (r *repository) shallow() bool {
	commits, err := r.storage.Shallow()
	return err == nil && len(commits) > 0
}

// commitDate returns the committer's date.
func commitDate(objects *filesystem.Storage, commit plumbing.Hash) (time.Time, error) {
	header, err := readHeader(objects, plumbing.CommitObject, commit)
	if err != nil {
		return time.Time{}, err
	}
	return parseDate(header["committer"])
}

// tagsAt returns the sorted names of the tags that are commit, or stand for it
// through annotated tags.
func tagsAt(ctx context.Context, objects *filesystem.Storage, commit plumbing.Hash) ([]string, error) {
	refs, err := objects.IterReferences()
	if err != nil {
		return nil, err
	}
	defer refs.Close()
	var names []string
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ref.Type() == plumbing.HashReference && ref.Name().IsTag() && peel(objects, ref.Hash()) == commit {
			names = append(names, ref.Name().Short())
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// maxPeel is how many annotated tags may stand behind each other.
const maxPeel = 8

// peel returns what an annotated tag stands for, and any other object as it
// is. A tag whose object is missing (a shallow clone may lack it) stands for
// itself, and so for no commit.
func peel(objects *filesystem.Storage, object plumbing.Hash) plumbing.Hash {
	for range maxPeel {
		header, err := readHeader(objects, plumbing.TagObject, object)
		if err != nil || !plumbing.IsHash(header["object"]) {
			return object
		}
		object = plumbing.NewHash(header["object"])
	}
	return object
}

// maxHeader is how much of a commit or tag is read: names and dates stand in
// the first lines.
const maxHeader = 64 << 10

// readHeader returns the first line of each name in an object's header.
//
// Format: https://git-scm.com/docs/git-cat-file, commit and tag.
func readHeader(objects *filesystem.Storage, kind plumbing.ObjectType, hash plumbing.Hash) (map[string]string, error) {
	object, err := objects.EncodedObject(kind, hash)
	if err != nil {
		return nil, err
	}
	r, err := object.Reader()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxHeader))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return parseHeader(string(data)), nil
}
