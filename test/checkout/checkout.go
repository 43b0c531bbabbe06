// Package checkout makes git repositories as a clone leaves them: commits, an
// origin, and the branch that is the origin's default.
package checkout

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Origin is where every repository made here says it was cloned from.
const Origin = "https://git.example.com/acme/app.git"

// DefaultBranch is the origin's.
const DefaultBranch = "main"

// Options say what a commit is to be.
type Options struct {
	Branch string    // of a new repository; empty means the default branch
	Tag    string    // set on the commit, unless it is empty
	When   time.Time // zero means now
}

// Commit commits all that dir holds, in a new repository if it is none yet, and
// returns the commit's full name.
func Commit(dir string, o Options) (commit string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("commit %s: %w", dir, err)
		}
	}()
	repository, err := open(dir, cmp.Or(o.Branch, DefaultBranch))
	if err != nil {
		return "", err
	}
	tree, err := repository.Worktree()
	if err != nil {
		return "", err
	}
	if err := tree.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		return "", err
	}
	when := o.When
	if when.IsZero() {
		when = time.Now()
	}
	hash, err := tree.Commit("all that is here", &git.CommitOptions{
		Author:            &object.Signature{Name: "Ada", Email: "ada@example.com", When: when},
		AllowEmptyCommits: true,
	})
	if err != nil {
		return "", err
	}
	if o.Tag != "" {
		if _, err := repository.CreateTag(o.Tag, hash, nil); err != nil {
			return "", err
		}
	}
	return hash.String(), likeClone(repository, hash)
}

func open(dir, branch string) (*git.Repository, error) {
	repository, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{
		InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(branch)},
	})
	if errors.Is(err, git.ErrRepositoryAlreadyExists) {
		return git.PlainOpen(dir)
	}
	if err != nil {
		return nil, err
	}
	_, err = repository.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{Origin}})
	return repository, err
}

// likeClone records the origin's branches, as `git clone` does.
func likeClone(repository *git.Repository, commit plumbing.Hash) error {
	branch := plumbing.NewRemoteReferenceName("origin", DefaultBranch)
	return errors.Join(
		repository.Storer.SetReference(plumbing.NewHashReference(branch, commit)),
		repository.Storer.SetReference(plumbing.NewSymbolicReference(plumbing.NewRemoteHEADReferenceName("origin"), branch)),
	)
}
