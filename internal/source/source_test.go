package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/source"
)

// committed is the time of every commit here: 2023-11-24 in the committer's
// zone, already the 25th in UTC.
var committed = time.Date(2023, 11, 24, 23, 30, 0, 0, time.FixedZone("", -2*60*60))

var signature = &object.Signature{Name: "Ann > Onym", Email: "a@example.com", When: committed}

// checkout makes a repository with one commit on branch main.
func checkout(t *testing.T) (dir string, repo *git.Repository, commit plumbing.Hash) {
	t.Helper()
	dir = t.TempDir()
	repo, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"}})
	must(t, err)
	return dir, repo, addCommit(t, repo, "first")
}

func addCommit(t *testing.T, repo *git.Repository, content string) plumbing.Hash {
	t.Helper()
	tree, err := repo.Worktree()
	must(t, err)
	write(t, filepath.Join(tree.Filesystem.Root(), "file"), content)
	_, err = tree.Add("file")
	must(t, err)
	commit, err := tree.Commit(content, &git.CommitOptions{Author: &object.Signature{Name: "x", When: time.Unix(1, 0)}, Committer: signature})
	must(t, err)
	return commit
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t *testing.T, dir string) source.Facts {
	t.Helper()
	facts, err := source.Read(t.Context(), dir)
	must(t, err)
	return facts
}

func setOrigin(t *testing.T, repo *git.Repository, url string) {
	t.Helper()
	_, err := repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{url}})
	must(t, err)
}

func annotate(t *testing.T, repo *git.Repository, name string, at plumbing.Hash) plumbing.Hash {
	t.Helper()
	ref, err := repo.CreateTag(name, at, &git.CreateTagOptions{Tagger: signature, Message: "release\n\nobject 0000"})
	must(t, err)
	return ref.Hash()
}

func TestFactsOfABranch(t *testing.T) {
	dir, repo, commit := checkout(t)
	setOrigin(t, repo, "https://oauth2:s3cret@git.example.com/acme/hello.git")
	must(t, repo.Storer.SetReference(plumbing.NewSymbolicReference("refs/remotes/origin/HEAD", "refs/remotes/origin/trunk/one")))
	want := source.Facts{
		Root: dir, Repository: "https://git.example.com/acme/hello", Revision: commit.String(),
		Date: time.Date(2023, 11, 25, 1, 30, 0, 0, time.UTC), Branch: "main", DefaultBranch: "trunk/one",
	}
	if diff := cmp.Diff(want, read(t, dir)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	sub := filepath.Join(dir, "a", "b")
	must(t, os.MkdirAll(sub, 0o755))
	if diff := cmp.Diff(want, read(t, sub)); diff != "" {
		t.Errorf("facts from a directory below (-want +got):\n%s", diff)
	}
}

func TestTagsAtHeadAreFoundHoweverTheyAreStored(t *testing.T) {
	dir, repo, first := checkout(t)
	_, err := repo.CreateTag("v1.0.0", first, nil)
	must(t, err)
	annotate(t, repo, "v1.0.1", first)
	second := addCommit(t, repo, "second")
	_, err = repo.CreateTag("v1.2.3", second, nil)
	must(t, err)
	nested := annotate(t, repo, "v1.2.3-signed", second)
	annotate(t, repo, "group/nested", nested)
	want := []string{"group/nested", "v1.2.3", "v1.2.3-signed"}
	if diff := cmp.Diff(want, read(t, dir).Tags); diff != "" {
		t.Errorf("loose tags (-want +got):\n%s", diff)
	}
	packer, ok := repo.Storer.(interface{ PackRefs() error })
	if !ok {
		t.Fatal("go-git's storage cannot pack references any more")
	}
	must(t, packer.PackRefs())
	must(t, repo.RepackObjects(&git.RepackConfig{}))
	if diff := cmp.Diff(want, read(t, dir).Tags); diff != "" {
		t.Errorf("packed tags and objects (-want +got):\n%s", diff)
	}
}

func TestDetachedHeadHasNoBranch(t *testing.T) {
	dir, repo, first := checkout(t)
	addCommit(t, repo, "second")
	tree, err := repo.Worktree()
	must(t, err)
	must(t, tree.Checkout(&git.CheckoutOptions{Hash: first}))
	if facts := read(t, dir); facts.Branch != "" || facts.Revision != first.String() {
		t.Errorf("branch %q, revision %s; want none, %s", facts.Branch, facts.Revision, first)
	}
}

func TestShallowCloneIsReadAndSaysSo(t *testing.T) {
	dir, repo, _ := checkout(t)
	second := addCommit(t, repo, "second")
	must(t, repo.Storer.SetShallow([]plumbing.Hash{second}))
	// What a depth of 1 leaves out: the parent, and the object of a tag.
	commit, err := repo.CommitObject(second)
	must(t, err)
	parent := commit.ParentHashes[0].String()
	must(t, os.Remove(filepath.Join(dir, ".git/objects", parent[:2], parent[2:])))
	must(t, repo.Storer.SetReference(plumbing.NewHashReference("refs/tags/v0.9.0", plumbing.NewHash(strings.Repeat("ab", 20)))))
	_, err = repo.CreateTag("v1.0.0", second, nil)
	must(t, err)
	facts := read(t, dir)
	if !facts.Shallow || facts.Revision != second.String() || !cmp.Equal(facts.Tags, []string{"v1.0.0"}) {
		t.Errorf("shallow %t, revision %s, tags %v; want true, %s, [v1.0.0]", facts.Shallow, facts.Revision, facts.Tags, second)
	}
}

func TestNoCommitYet(t *testing.T) {
	dir := t.TempDir()
	_, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"}})
	must(t, err)
	if diff := cmp.Diff(source.Facts{Root: dir, Branch: "main"}, read(t, dir)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func TestLinkedWorktree(t *testing.T) {
	dir, repo, first := checkout(t)
	setOrigin(t, repo, "git@example.com:acme/hello.git")
	addCommit(t, repo, "second")
	annotate(t, repo, "v1.0.0", first)
	// What git worktree add writes.
	linked := t.TempDir()
	admin := filepath.Join(dir, ".git/worktrees/linked")
	write(t, filepath.Join(admin, "HEAD"), "ref: refs/heads/topic\n")
	write(t, filepath.Join(admin, "commondir"), "../..\n")
	write(t, filepath.Join(linked, ".git"), "gitdir: "+admin+"\n")
	must(t, repo.Storer.SetReference(plumbing.NewHashReference("refs/heads/topic", first)))
	want := source.Facts{
		Root: linked, Repository: "https://example.com/acme/hello", Revision: first.String(),
		Date: committed.UTC(), Branch: "topic", Tags: []string{"v1.0.0"},
	}
	if diff := cmp.Diff(want, read(t, linked)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func TestSubmodule(t *testing.T) {
	dir, _, commit := checkout(t)
	outer := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(outer, ".git/modules"), 0o755))
	write(t, filepath.Join(outer, ".git/HEAD"), "ref: refs/heads/main\n")
	must(t, os.Rename(filepath.Join(dir, ".git"), filepath.Join(outer, ".git/modules/sub")))
	write(t, filepath.Join(outer, "sub/.git"), "gitdir: ../.git/modules/sub\n")
	if facts := read(t, filepath.Join(outer, "sub")); facts.Revision != commit.String() {
		t.Errorf("revision %q; want the submodule's, %s", facts.Revision, commit)
	}
}

func TestCloneWithReferenceFindsObjectsElsewhere(t *testing.T) {
	dir, _, commit := checkout(t)
	clone := t.TempDir()
	write(t, filepath.Join(clone, ".git/HEAD"), commit.String()+"\n")
	write(t, filepath.Join(clone, ".git/objects/info/alternates"), filepath.Join(dir, ".git/objects")+"\n")
	if facts := read(t, clone); facts.Revision != commit.String() || !facts.Date.Equal(committed) {
		t.Errorf("revision %q of %s; want %s of %s", facts.Revision, facts.Date, commit, committed.UTC())
	}
}

func TestFilesOfAnotherOwnerAreRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir, _, commit := checkout(t)
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, 12345, 12345))
	}))
	t.Setenv("PATH", "") // no git program either
	if facts := read(t, dir); facts.Revision != commit.String() {
		t.Errorf("revision %q; want %s", facts.Revision, commit)
	}
}

func TestNoRepository(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, ".git"), 0o755)) // an empty .git is none either
	if _, err := source.Read(t.Context(), dir); !errors.Is(err, source.ErrNotRepository) {
		t.Errorf("Read of a plain directory: %v; want ErrNotRepository", err)
	}
}

func TestBrokenRepositoriesAreErrorsThatNameThem(t *testing.T) {
	for _, tc := range []struct{ name, file, content, want string }{
		{".git file that points nowhere", "gitfile", "gitdir: /nonexistent/x\n", "points elsewhere"},
		{".git file with something else", "gitfile", "hello\n", "names no gitdir"},
		{"HEAD to a missing commit", "HEAD", strings.Repeat("ab", 20) + "\n", "commit abab"},
		{"HEAD outside the repository", "HEAD", "ref: ../../../../etc/passwd\n", "HEAD"},
		{"HEAD to itself", "HEAD", "ref: HEAD\n", "HEAD"},
		{"empty HEAD", "HEAD", "", "HEAD"},
		{"config that is no config", "config", "[remote \"origin\"\nurl = https://x:tok3n@example.com/a\n", "config"},
		{"config with a broken string", "config", "[remote \"origin\"]\nurl = \"https://x:tok3n@example.com/a\n", "config"},
		{"sha256 objects", "config", "[extensions]\nobjectFormat = sha256\n", "sha256"},
		{"reftable", "config", "[extensions]\nrefStorage = reftable\n", "reftable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, _, _ := checkout(t)
			if tc.file == "gitfile" {
				must(t, os.RemoveAll(filepath.Join(dir, ".git")))
				write(t, filepath.Join(dir, ".git"), tc.content)
			} else {
				write(t, filepath.Join(dir, ".git", tc.file), tc.content)
			}
			_, err := source.Read(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("Read: %v; want an error with %q and the directory", err, tc.want)
			}
			if errors.Is(err, source.ErrNotRepository) {
				t.Errorf("Read: %v is ErrNotRepository; a broken repository is not none", err)
			}
			if strings.Contains(err.Error(), "tok3n") {
				t.Errorf("Read: %v shows the token", err)
			}
		})
	}
}

// gh pr checkout writes such a branch section; go-git's own configuration
// reader refuses it.
func TestConfigThatOnlyGitUnderstands(t *testing.T) {
	dir, _, commit := checkout(t)
	write(t, filepath.Join(dir, ".git/config"), `[core]
	repositoryformatversion = 0
[remote "origin"]
	url = git@github.com:acme/hello.git
	fetch = nonsense
[branch "topic"]
	remote = origin
	merge = refs/pull/7/head
[http "https://github.com/"]
	extraheader = AUTHORIZATION: basic c2VjcmV0
[includeIf "gitdir:/x/"]
	path = /nonexistent
`)
	if facts := read(t, dir); facts.Repository != "https://github.com/acme/hello" || facts.Revision != commit.String() {
		t.Errorf("repository %q, revision %q; want https://github.com/acme/hello, %s", facts.Repository, facts.Revision, commit)
	}
}
