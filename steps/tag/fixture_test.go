package tag_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/tag"
)

// committed is already the 25th in UTC.
var committed = time.Date(2023, 11, 24, 23, 30, 0, 0, time.FixedZone("", -2*60*60))

// fixture is a checkout and what surrounds it. The commit is on branch main.
type fixture struct {
	dir, commit string
	repo        *git.Repository
	env         []string
}

func newFixture(t *testing.T, versionFile string, gitTags ...string) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir()}
	var err error
	f.repo, err = git.PlainInitWithOptions(f.dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"}})
	must(t, err)
	if versionFile != "" {
		must(t, os.WriteFile(filepath.Join(f.dir, "VERSION"), []byte(versionFile), 0o644))
	}
	tree, err := f.repo.Worktree()
	must(t, err)
	who := &object.Signature{Name: "Ann Onym", Email: "a@example.com", When: committed}
	hash, err := tree.Commit("first", &git.CommitOptions{Author: who, Committer: who, AllowEmptyCommits: true})
	must(t, err)
	f.commit = hash.String()
	for _, name := range gitTags {
		_, err := f.repo.CreateTag(name, hash, nil)
		must(t, err)
	}
	return f
}

// clone records origin's default branch, as git clone does.
func (f *fixture) clone(t *testing.T, branch string) *fixture {
	t.Helper()
	target := plumbing.ReferenceName("refs/remotes/origin/" + branch)
	must(t, f.repo.Storer.SetReference(plumbing.NewSymbolicReference("refs/remotes/origin/HEAD", target)))
	return f
}

func (f *fixture) detach(t *testing.T) *fixture {
	t.Helper()
	must(t, f.repo.Storer.SetReference(plumbing.NewHashReference(plumbing.HEAD, plumbing.NewHash(f.commit))))
	return f
}

func (f *fixture) built(t *testing.T, revision, digest string) {
	t.Helper()
	must(t, record.Write(filepath.Join(f.dir, ".imagewright"), "build", &record.Build{
		Image:  record.Image{Digest: digest},
		Source: record.Source{Revision: revision, Date: committed.UTC()},
	}))
}

// first is the name of the version's build: v1.2.3-20231125-7a3b5c9.
func (f *fixture) first(release string) string {
	return "v" + release + "-20231125-" + f.commit[:7]
}

type result struct {
	code           int
	stdout, stderr string
}

func (r result) tags() []string { return strings.Fields(r.stdout) }

func (f *fixture) run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := step.Run(t.Context(), &tag.Step{}, step.Process{
		Args: args, Environ: f.env, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: f.dir,
	})
	return result{code, stdout.String(), stderr.String()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// github is the environment of a run for ref, with a payload that names the
// default branch and, for a pull request, its number.
func github(t *testing.T, ref, event, payload string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "event.json")
	must(t, os.WriteFile(file, []byte(payload), 0o644))
	return []string{
		"GITHUB_ACTIONS=true", "GITHUB_REF=" + ref, "GITHUB_EVENT_NAME=" + event, "GITHUB_EVENT_PATH=" + file,
		"GITHUB_SERVER_URL=https://github.com", "GITHUB_REPOSITORY=acme/hello",
	}
}

const payload = `{"repository": {"default_branch": "main"}}`

const pullRequest = `{"repository": {"default_branch": "main"}, "pull_request": {"number": 7,
	"head": {"ref": "main", "repo": {"full_name": "acme/hello"}}, "base": {"repo": {"full_name": "acme/hello"}}}}`
