package tag_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/record"
)

func TestLatestIsForTheDefaultBranch(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version string
		env     func(t *testing.T) []string
		origin  string // default branch that the clone recorded
		args    []string
		want    bool
		says    string
	}{
		{name: "GitHub, default branch", env: func(t *testing.T) []string { return github(t, "refs/heads/main", "push", payload) }, want: true},
		{name: "GitHub, other branch", env: func(t *testing.T) []string { return github(t, "refs/heads/topic", "push", payload) }, says: "the branch is not the default one"},
		{name: "GitHub, pull request from a branch of that name", env: func(t *testing.T) []string { return github(t, "refs/pull/7/merge", "pull_request", pullRequest) }, says: "pull request"},
		{name: "GitHub, pull request, always", env: func(t *testing.T) []string { return github(t, "refs/pull/7/merge", "pull_request", pullRequest) }, args: []string{"--latest=always"}, says: "pull request"},
		{name: "GitHub, git tag", env: func(t *testing.T) []string { return github(t, "refs/tags/v1.2.3", "push", payload) }, says: "git tag"},
		{name: "GitHub, git tag, always", env: func(t *testing.T) []string { return github(t, "refs/tags/v1.2.3", "push", payload) }, args: []string{"--latest=always"}, want: true},
		{name: "GitHub without a payload", env: func(t *testing.T) []string {
			return []string{"GITHUB_ACTIONS=true", "GITHUB_REF=refs/heads/main", "GITHUB_EVENT_NAME=push"}
		}, says: "the default branch is unknown"},
		{name: "GitLab, default branch", env: func(*testing.T) []string {
			return []string{"GITLAB_CI=true", "CI_COMMIT_BRANCH=main", "CI_DEFAULT_BRANCH=main"}
		}, want: true},
		{name: "GitLab, merge request", env: func(*testing.T) []string {
			return []string{"GITLAB_CI=true", "CI_MERGE_REQUEST_IID=7", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=main", "CI_DEFAULT_BRANCH=main"}
		}, says: "pull request"},
		{name: "terminal, clone of main", origin: "main", want: true},
		{name: "terminal, clone of trunk", origin: "trunk", says: "the branch is not the default one"},
		{name: "terminal, no clone", says: "the default branch is unknown"},
		{name: "the input names the default branch", args: []string{"--default-branch=main"}, want: true},
		{name: "the input wins over the clone", origin: "main", args: []string{"--default-branch=trunk"}, says: "the branch is not the default one"},
		{name: "never", origin: "main", args: []string{"--latest=never"}, says: "input latest is never"},
		{name: "always, on an unknown branch", args: []string{"--latest=always"}, want: true},
		{name: "prerelease", version: "1.2.3-rc.1", origin: "main", says: "prerelease"},
		{name: "prerelease, always", version: "1.2.3-rc.1", origin: "main", args: []string{"--latest=always"}, says: "prerelease"},
		{name: "prerelease of an unknown word", version: "1.2.3-foo", origin: "main", says: "prerelease"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			release := tc.version
			if release == "" {
				release = "1.2.3"
			}
			f := newFixture(t, release)
			if tc.origin != "" {
				f.clone(t, tc.origin)
			}
			if tc.env != nil { // CIs check out a commit
				f.env = tc.env(t)
				f.detach(t)
			}
			got := f.run(t, tc.args...)
			want := []string{f.first(release)}
			if tc.want {
				want = append(want, "latest")
			}
			if diff := cmp.Diff(want, got.tags()); diff != "" || got.code != 0 {
				t.Errorf("exit %d, tags (-want +got):\n%s\n%s", got.code, diff, got.stderr)
			}
			if !strings.Contains(got.stderr, tc.says) {
				t.Errorf("the log does not say %q:\n%s", tc.says, got.stderr)
			}
		})
	}
}

func TestWhereTheVersionComesFrom(t *testing.T) {
	for _, tc := range []struct {
		name    string
		file    string
		gitTags []string
		ciTag   string
		args    []string
		want    string
		says    string
	}{
		{name: "VERSION", file: "1.2.3\n", want: "1.2.3", says: "from=\"file VERSION\""},
		{name: "VERSION with a v", file: "v1.2.3\n", want: "1.2.3"},
		{name: "the git tag at the commit", gitTags: []string{"v1.2.3"}, want: "1.2.3", says: "from=\"git tag v1.2.3\""},
		{name: "the git tag without a v", gitTags: []string{"1.2.3"}, want: "1.2.3"},
		{name: "the highest of several", gitTags: []string{"v1.2.9", "v1.2.10", "v1.2.10-rc.1", "v1.2.10-foo", "nightly", "v1.3"}, want: "1.2.10"},
		{name: "the run's tag before others", gitTags: []string{"v1.2.3", "v1.2.4"}, ciTag: "v1.2.3", want: "1.2.3"},
		{name: "the run's tag when the clone has none", ciTag: "v1.2.3", want: "1.2.3"},
		{name: "VERSION before a git tag at the commit", file: "1.2.3", gitTags: []string{"v1.2.2"}, want: "1.2.3", says: "the file counts"},
		{name: "VERSION and the run's tag agree", file: "1.2.3", ciTag: "v1.2.3", want: "1.2.3"},
		{name: "build metadata cannot be in a tag", file: "1.2.3+5", want: "1.2.3"},
		{name: "a git tag of our own form", gitTags: []string{"v1.2.3-20200101-abcdef0"}, want: "1.2.3"},
		{name: "a year", file: "2024.1.15", want: "2024.1.15"},
		{name: "another file", args: []string{"--version-file=app/VERSION.txt"}, want: "3.0.0", says: "app/VERSION.txt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, tc.file, tc.gitTags...)
			must(t, os.Mkdir(filepath.Join(f.dir, "app"), 0o755))
			must(t, os.WriteFile(filepath.Join(f.dir, "app", "VERSION.txt"), []byte("3.0.0\n"), 0o644))
			if tc.ciTag != "" {
				f.detach(t).env = []string{"GITLAB_CI=true", "CI_COMMIT_TAG=" + tc.ciTag, "CI_DEFAULT_BRANCH=main"}
			}
			got := f.run(t, append(tc.args, "--latest=never")...)
			if diff := cmp.Diff([]string{f.first(tc.want)}, got.tags()); diff != "" || got.code != 0 {
				t.Errorf("exit %d, tags (-want +got):\n%s\n%s", got.code, diff, got.stderr)
			}
			if !strings.Contains(got.stderr, tc.says) {
				t.Errorf("the log does not say %q:\n%s", tc.says, got.stderr)
			}
		})
	}
}

func TestBadInputIsRefusedInOneSentence(t *testing.T) {
	for _, tc := range []struct {
		name string
		file string
		env  []string
		args []string
		want string
	}{
		{name: "bad VERSION", file: "1.2\n", want: `VERSION:1: "1.2" is not a semantic version; write a version`},
		{name: "bad VERSION is no reason to take the git tag", file: "\x1b[31mnext\n", want: `VERSION:1: "\x1b[31mnext" is not`},
		{name: "neither way", want: "no file VERSION in "},
		{name: "neither way, on a git tag", env: []string{"GITLAB_CI=true", "CI_COMMIT_TAG=release-7"}, want: `the git tag "release-7" is no semantic version`},
		{name: "VERSION and the run's tag differ", file: "1.2.3", env: []string{"GITLAB_CI=true", "CI_COMMIT_TAG=v1.2.4"}, want: "file VERSION says 1.2.3, and this run is for git tag v1.2.4"},
		{name: "the named file is missing", args: []string{"--version-file=nope"}, want: `input version-file: there is no file "nope"`},
		{name: "the named file is outside and bad", args: []string{"--version-file=/proc/self/maps"}, want: "/proc/self/maps:1: "},
		{name: "too long a version", file: "1.2.3-" + strings.Repeat("a", 120), want: "a registry takes at most 128"},
		{name: "a further name that is none", file: "1.2.3", args: []string{"--tags=a/b"}, want: `input tags: tag "a/b": '/' is not allowed`},
		{name: "a further name for signatures", file: "1.2.3", args: []string{"--tags=sha256-" + strings.Repeat("a", 64) + ".sig"}, want: "registry tools keep for themselves"},
		{name: "latest as a further name", file: "1.2.3", args: []string{"--tags=latest"}, want: "input latest decides"},
		{name: "unknown choice of latest", file: "1.2.3", args: []string{"--latest=maybe"}, want: "auto, always or never"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, tc.file)
			f.env = tc.env
			if tc.env != nil {
				f.detach(t)
			}
			got := f.run(t, tc.args...)
			if got.code != 2 || !strings.Contains(got.stderr, tc.want) || got.stdout != "" {
				t.Errorf("exit %d, stdout %q, stderr:\n%s\nwant exit 2, nothing, and %s", got.code, got.stdout, got.stderr, tc.want)
			}
			if strings.Contains(got.stderr, "\x1b") {
				t.Errorf("stderr carries a terminal escape: %q", got.stderr)
			}
			if _, err := os.Stat(filepath.Join(f.dir, ".imagewright/record/tag.json")); err == nil {
				t.Error("a failed run wrote record/tag.json")
			}
		})
	}
}

func TestBadVersionIsAnnotatedAtItsLine(t *testing.T) {
	f := newFixture(t, "\none\n")
	f.env = github(t, "refs/heads/main", "push", payload)
	got := f.run(t)
	if !strings.Contains(got.stderr, "::error") || !strings.Contains(got.stderr, "file=VERSION") || !strings.Contains(got.stderr, "line=2") {
		t.Errorf("no annotation at VERSION, line 2:\n%s", got.stderr)
	}
}

func TestResultGoesToRecordOutputsAndSummary(t *testing.T) {
	f := newFixture(t, "1.2.3\n").clone(t, "main")
	digest := "sha256:" + strings.Repeat("ab", 32)
	f.built(t, f.commit, digest)
	got := f.run(t, "--tags=nightly", "--tags=nightly", "--tags="+f.first("1.2.3"))
	if got.code != 0 {
		t.Fatalf("exit %d:\n%s", got.code, got.stderr)
	}
	want := []string{f.first("1.2.3"), "nightly", "latest"}
	if diff := cmp.Diff(want, got.tags()); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	made, err := record.Read[record.Tag](filepath.Join(f.dir, ".imagewright"), "tag")
	must(t, err)
	if made.Digest != digest || !cmp.Equal(made.Tags, want) {
		t.Errorf("record %+v; want digest %s, tags %v", made, digest, want)
	}
	env, err := os.ReadFile(filepath.Join(f.dir, ".imagewright/tag.env"))
	must(t, err)
	if wantEnv := fmt.Sprintf("IW_TAG_VERSION=%s\nIW_TAG_TAGS=%s\nIW_TAG_DIGEST=%s\n", want[0], strings.Join(want, ","), digest); string(env) != wantEnv {
		t.Errorf("tag.env:\n%swant:\n%s", env, wantEnv)
	}
	summary, err := os.ReadFile(filepath.Join(f.dir, ".imagewright/reports/tag.md"))
	must(t, err)
	for _, row := range []string{"| `" + want[0] + "` | version, ", "| `nightly` | input tags |", "| `latest` | the default branch |"} {
		if !strings.Contains(string(summary), row) {
			t.Errorf("the summary lacks the row %s:\n%s", row, summary)
		}
	}
}

func TestTheNameIsOfTheCommitThatWasBuilt(t *testing.T) {
	other := strings.Repeat("7a3b5c9e", 5)
	f := newFixture(t, "1.2.3\n")
	f.built(t, other, "sha256:"+strings.Repeat("ab", 32))
	if got := f.run(t); got.code != 2 || !strings.Contains(got.stderr, "built from commit "+other) {
		t.Errorf("image of another commit: exit %d:\n%s\nwant 2 and both commits", got.code, got.stderr)
	}
	f.env = []string{"GITLAB_CI=true", "CI_COMMIT_SHA=" + other}
	if got := f.run(t); got.code != 0 || !cmp.Equal(got.tags(), []string{"v1.2.3-20231125-7a3b5c9"}) {
		t.Errorf("image of the commit that the CI names: exit %d, tags %v:\n%s", got.code, got.tags(), got.stderr)
	}
	f.env = nil
	f.built(t, "$(id)", "")
	if got := f.run(t); got.code != 1 || !strings.Contains(got.stderr, "is no commit") {
		t.Errorf("record with a revision that is none: exit %d:\n%s", got.code, got.stderr)
	}
}

// A job that gets only the workspace and the version file has no .git.
func TestNoGitButTheRecordOfBuild(t *testing.T) {
	f := newFixture(t, "1.2.3\n")
	must(t, os.RemoveAll(filepath.Join(f.dir, ".git")))
	if got := f.run(t); got.code != 2 || !strings.Contains(got.stderr, "has no commit") {
		t.Errorf("neither git nor record: exit %d:\n%s\nwant 2", got.code, got.stderr)
	}
	f.built(t, f.commit, "")
	if got := f.run(t); got.code != 0 || !cmp.Equal(got.tags(), []string{f.first("1.2.3")}) {
		t.Errorf("with the record: exit %d, tags %v:\n%s", got.code, got.tags(), got.stderr)
	}
}

func TestRecordOfANewerVersionIsRefused(t *testing.T) {
	f := newFixture(t, "1.2.3\n")
	must(t, os.MkdirAll(filepath.Join(f.dir, ".imagewright/record"), 0o755))
	must(t, os.WriteFile(filepath.Join(f.dir, ".imagewright/record/build.json"), []byte(`{"version": 99}`), 0o644))
	if got := f.run(t); got.code != 2 || !strings.Contains(got.stderr, "version 99") {
		t.Errorf("exit %d:\n%s\nwant 2 and the version", got.code, got.stderr)
	}
}

func TestTheSameCommitHasTheSameNameEverywhere(t *testing.T) {
	f := newFixture(t, "1.2.3\n")
	want := []string{f.first("1.2.3"), "latest"}
	for name, env := range map[string][]string{
		"GitHub":   github(t, "refs/heads/main", "push", payload),
		"GitLab":   {"GITLAB_CI=true", "CI_COMMIT_BRANCH=main", "CI_DEFAULT_BRANCH=main", "CI_COMMIT_SHA=" + f.commit},
		"Jenkins":  {"JENKINS_URL=https://ci.example.com/", "BRANCH_NAME=main", "BRANCH_IS_PRIMARY=true", "GIT_COMMIT=" + f.commit},
		"terminal": {"IMAGEWRIGHT_TAG_DEFAULT_BRANCH=main"},
	} {
		f.env = append(env, "TZ=Pacific/Kiritimati")
		if got := f.run(t); !cmp.Equal(got.tags(), want) {
			t.Errorf("%s: tags %v; want %v\n%s", name, got.tags(), want, got.stderr)
		}
	}
}
