package ci

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func eventFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const pullRequest = `{"repository":{"default_branch":"main"},"pull_request":{"number":7,"head":{"ref":"fix","repo":{"full_name":"HEAD"}},"base":{"repo":{"full_name":"acme/hello"}}}}`

func TestDetect(t *testing.T) {
	own := eventFile(t, strings.Replace(pullRequest, "HEAD", "acme/hello", 1))
	fork := eventFile(t, strings.Replace(pullRequest, "HEAD", "mallory/hello", 1))
	gone := eventFile(t, strings.Replace(pullRequest, `{"full_name":"HEAD"}`, "null", 1))
	forksRun := eventFile(t, `{"repository":{"full_name":"acme/hello"},"workflow_run":{"head_repository":{"full_name":"mallory/hello"}}}`)
	ownRun := eventFile(t, `{"repository":{"full_name":"acme/hello"},"workflow_run":{"head_repository":{"full_name":"acme/hello"}}}`)
	push := eventFile(t, `{"repository":{"default_branch":"trunk"}}`)
	github := func(pairs ...string) func(string) string {
		return env(append([]string{"GITHUB_ACTIONS", "true", "GITHUB_SERVER_URL", "https://github.com", "GITHUB_REPOSITORY", "acme/hello",
			"GITHUB_SHA", "abc", "GITHUB_RUN_ID", "5"}, pairs...)...)
	}
	gh := Context{Kind: GitHub, Repository: "https://github.com/acme/hello", Revision: "abc", RunURL: "https://github.com/acme/hello/actions/runs/5"}
	for _, tc := range []struct {
		name   string
		getenv func(string) string
		want   func(c Context) Context
		base   Context
	}{
		{"GitHub, push", github("GITHUB_REF", "refs/heads/feature/x", "GITHUB_EVENT_NAME", "push", "GITHUB_EVENT_PATH", push),
			func(c Context) Context { c.Branch, c.Event, c.DefaultBranch = "feature/x", "push", "trunk"; return c }, gh},
		{"GitHub, tag, no payload", github("GITHUB_REF", "refs/tags/v1.2.3", "GITHUB_EVENT_NAME", "push"),
			func(c Context) Context { c.Tag, c.Event = "v1.2.3", "push"; return c }, gh},
		{"GitHub, own pull request", github("GITHUB_REF", "refs/pull/7/merge", "GITHUB_EVENT_NAME", "pull_request", "GITHUB_EVENT_PATH", own),
			func(c Context) Context {
				c.Branch, c.PullRequest, c.Event, c.DefaultBranch = "fix", "7", "pull_request", "main"
				return c
			}, gh},
		{"GitHub, fork that holds secrets", github("GITHUB_REF", "refs/heads/main", "GITHUB_EVENT_NAME", "pull_request_target", "GITHUB_EVENT_PATH", fork),
			func(c Context) Context {
				c.Branch, c.PullRequest, c.Event, c.DefaultBranch, c.Fork = "fix", "7", "pull_request_target", "main", true
				return c
			}, gh},
		{"GitHub, deleted fork", github("GITHUB_EVENT_NAME", "pull_request", "GITHUB_EVENT_PATH", gone),
			func(c Context) Context {
				c.Branch, c.PullRequest, c.Event, c.DefaultBranch, c.Fork = "fix", "7", "pull_request", "main", true
				return c
			}, gh},
		{"GitHub, a comment on who knows what", github("GITHUB_EVENT_NAME", "issue_comment", "GITHUB_EVENT_PATH", push),
			func(c Context) Context { c.Event, c.DefaultBranch, c.Fork = "issue_comment", "trunk", true; return c }, gh},
		{"GitHub, after a workflow of a fork", github("GITHUB_EVENT_NAME", "workflow_run", "GITHUB_EVENT_PATH", forksRun),
			func(c Context) Context { c.Event, c.Fork = "workflow_run", true; return c }, gh},
		{"GitHub, after an own workflow", github("GITHUB_EVENT_NAME", "workflow_run", "GITHUB_EVENT_PATH", ownRun),
			func(c Context) Context { c.Event = "workflow_run"; return c }, gh},
		{"GitHub, pull request without payload is a fork", github("GITHUB_EVENT_NAME", "pull_request"),
			func(c Context) Context { c.Event, c.Fork = "pull_request", true; return c }, gh},
		{"GitLab, branch", env("GITLAB_CI", "true", "CI_PROJECT_URL", "https://gitlab.com/acme/hello", "CI_COMMIT_SHA", "abc", "CI_COMMIT_BRANCH", "main", "CI_DEFAULT_BRANCH", "main", "CI_PIPELINE_SOURCE", "push"),
			func(c Context) Context { return c },
			Context{Kind: GitLab, Repository: "https://gitlab.com/acme/hello", Revision: "abc", Branch: "main", DefaultBranch: "main", Event: "push"}},
		{"gitlab-ci-local", env("GITLAB_CI", "false", "CI_COMMIT_TAG", "v1.0.0"), func(c Context) Context { return c }, Context{Kind: GitLab, Tag: "v1.0.0"}},
		{"GitLab, fork's merge request", env("GITLAB_CI", "true", "CI_MERGE_REQUEST_IID", "3", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "fix", "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "mallory/hello", "CI_PROJECT_PATH", "acme/hello"),
			func(c Context) Context { return c }, Context{Kind: GitLab, Branch: "fix", PullRequest: "3", Fork: true}},
		{"Jenkins, primary branch", env("JENKINS_URL", "http://j/", "BRANCH_NAME", "main", "BRANCH_IS_PRIMARY", "true", "GIT_COMMIT", "abc", "GIT_URL", "https://user:token@git.example.com/acme/hello.git"),
			func(c Context) Context { return c },
			Context{Kind: Jenkins, Repository: "https://git.example.com/acme/hello.git", Revision: "abc", Branch: "main", DefaultBranch: "main"}},
		{"Jenkins, change of a fork", env("JENKINS_URL", "http://j/", "BRANCH_NAME", "PR-7", "CHANGE_ID", "7", "CHANGE_BRANCH", "fix", "CHANGE_FORK", "mallory"),
			func(c Context) Context { return c }, Context{Kind: Jenkins, Branch: "fix", PullRequest: "7", Event: "change", Fork: true}},
		{"Jenkins, tag", env("JENKINS_URL", "http://j/", "BRANCH_NAME", "v1", "TAG_NAME", "v1"), func(c Context) Context { return c }, Context{Kind: Jenkins, Tag: "v1"}},
		{"Jenkins, plain job", env("JENKINS_URL", "http://j/", "GIT_BRANCH", "origin/main"), func(c Context) Context { return c }, Context{Kind: Jenkins, Branch: "main"}},
		{"terminal", env("CI", ""), func(c Context) Context { return c }, Context{Kind: Terminal}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := Detect(tc.getenv, &bytes.Buffer{}, &bytes.Buffer{})
			if diff := cmp.Diff(tc.want(tc.base), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestGitHubMasksEachLine(t *testing.T) {
	var log bytes.Buffer
	_, e := Detect(env("GITHUB_ACTIONS", "true"), &log, &log)
	e.Mask("first line\nsecond line\n}\n")
	want := "::add-mask::first line%0Asecond line%0A}\n::add-mask::first line\n::add-mask::second line\n"
	if log.String() != want {
		t.Errorf("log is\n%q, want\n%q", log.String(), want)
	}
}

func TestGitHubOutputsCannotForgeOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "output")
	_, e := Detect(env("GITHUB_ACTIONS", "true", "GITHUB_OUTPUT", path), &bytes.Buffer{}, &bytes.Buffer{})
	if err := e.Output("tags", "a\n_GitHubActionsFileCommandDelimeter_\nverdict<<EOF\npass\nEOF"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	delimiter, ok := strings.CutPrefix(strings.SplitN(string(data), "\n", 2)[0], "tags<<")
	if !ok || strings.Count(string(data), delimiter) != 2 || !strings.HasSuffix(string(data), "\n"+delimiter+"\n") {
		t.Errorf("the output is not closed by its own delimiter alone:\n%s", data)
	}
	if err := e.Output("a\nb", "x"); err == nil {
		t.Error("a name of two lines is written")
	}
}

func TestAnOutputFileThatCannotBeOpenedIsAnError(t *testing.T) {
	_, e := Detect(env("GITHUB_ACTIONS", "true", "GITHUB_OUTPUT", filepath.Join(t.TempDir(), "none", "output")), &bytes.Buffer{}, &bytes.Buffer{})
	if err := e.Output("digest", "x"); err == nil {
		t.Error("the output is lost silently")
	}
}

func TestSummariesStayUnderGitHubsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary")
	_, e := Detect(env("GITHUB_ACTIONS", "true", "GITHUB_STEP_SUMMARY", path), &bytes.Buffer{}, &bytes.Buffer{})
	for range 3 {
		if taken, err := e.Summary(strings.Repeat("a row of a table\n", 40_000)); err != nil || !taken {
			t.Fatalf("taken %v, error %v", taken, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSummaryBytes {
		t.Errorf("summary has %d bytes; GitHub drops it whole above %d", info.Size(), maxSummaryBytes)
	}
}

func TestBuildOutputCannotCommandTheRunner(t *testing.T) {
	for _, text := range []string{"::add-mask::a", "  ::set-output name=x::y", "##[error]x", "text ##[error]x", "###[error]x", "ok\n::error::x", "ok\r::error::x", "\u00a0::error::x"} {
		for size := 1; size <= len(text); size++ { // in pieces of every size
			var log bytes.Buffer
			_, e := Detect(env("GITHUB_ACTIONS", "true"), &log, &log)
			w := e.Shield(&log)
			for rest := text + "\n"; rest != ""; {
				n := min(size, len(rest))
				if _, err := w.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			for _, line := range strings.FieldsFunc(log.String(), func(r rune) bool { return r == '\n' || r == '\r' }) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "::") || strings.Contains(line, "##[") {
					t.Errorf("in pieces of %d bytes %q reaches the runner as a command: %q", size, text, line)
				}
			}
		}
	}
}

// Looking at each letter of a line must not look at all the rest again.
func TestALongLineIsShieldedAtOnce(t *testing.T) {
	var log bytes.Buffer
	_, e := Detect(env("GITHUB_ACTIONS", "true"), &log, &log)
	begun := time.Now()
	if _, err := e.Shield(&log).Write(bytes.Repeat([]byte(":"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("a mebibyte takes %v", took)
	}
}

func TestPrintableCannotMoveTheCursorOrForgeACommand(t *testing.T) {
	for in, want := range map[string]string{
		"zlib1g 1:1.2":        "zlib1g 1:1.2",
		"grün ✓ 漢字":           "grün ✓ 漢字",
		"a\n::error::b\r\tc":  "a ::error::b  c",
		"\x1b[2J\x07":         `\u001b[2J\u0007`,
		"\u009b31m":           `\u009b31m`,
		"abc\u202edcb\u200b":  `abc\u202edcb\u200b`,
		"\xff\xfe":            `\xff\xfe`,
		"x ##[add-mask]y":     "x ## [add-mask]y",
		"no\u00a0break\u2028": `no\u00a0break\u2028`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAnnotationsAreEscaped(t *testing.T) {
	a := Annotation{Level: Error, File: "Dockerfile", Line: 3, EndLine: 4, Title: "a,b:c", Message: "x\n::error::forged"}
	var log bytes.Buffer
	_, e := Detect(env("GITHUB_ACTIONS", "true"), &log, &log)
	e.Annotate(a)
	if want := "::error endLine=4,file=Dockerfile,line=3,title=a%2Cb%3Ac::x%0A::error::forged\n"; log.String() != want {
		t.Errorf("GitHub gets %q, want %q", log.String(), want)
	}
	log.Reset()
	_, e = Detect(env(), &log, &log)
	e.Annotate(a)
	if want := "Dockerfile:3: error: a,b:c: x ::error::forged\n"; log.String() != want {
		t.Errorf("a terminal gets %q, want %q", log.String(), want)
	}
}
