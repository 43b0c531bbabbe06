// Package ci knows the systems a step runs under: what they tell it (Context)
// and how it tells them things (Emitter). Each system has a file of its own.
package ci

import (
	"io"
	"log/slog"
)

// Kind is the system a step runs under.
type Kind string

// The kinds. Terminal is everything that is no CI we know.
const (
	GitHub   Kind = "github"
	GitLab   Kind = "gitlab"
	Jenkins  Kind = "jenkins"
	Terminal Kind = "terminal"
)

// Context is what the CI says of this run. A field is empty where the CI does
// not tell; nothing is guessed.
type Context struct {
	Kind          Kind
	Repository    string // web address, without credentials
	Revision      string // commit, full
	Branch        string // source branch of a pull request; empty for a tag
	Tag           string
	DefaultBranch string
	PullRequest   string // its number
	Event         string // the CI's own word: push, schedule, merge_request_event, …
	Fork          bool   // code from another repository: nothing in the checkout is trusted
	RunURL        string
}

// Level is how loud an annotation is.
type Level string

// The levels, with GitHub's names.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Notice  Level = "notice"
)

// Annotation is a remark at a place in the checkout.
type Annotation struct {
	Level         Level
	File          string // relative to the checkout; empty for none
	Line, EndLine int    // from 1; 0 for none
	Title         string
	Message       string
}

// Emitter tells the CI things. Text handed to it may come from hostile images
// and Dockerfiles: an Emitter escapes all of it.
type Emitter interface {
	// Mask makes the CI hide secret in its log, the whole and each line of it.
	Mask(secret string)
	Annotate(Annotation)
	// Group folds what is logged until end is called.
	Group(title string) (end func())
	// Output sets an output of the step, where the CI has such.
	Output(name, value string) error
	// Summary adds Markdown to the run's page; taken is false where the CI has
	// no such page.
	Summary(markdown string) (taken bool, err error)
	// Shield writes untrusted text to the log so that no line of it is taken
	// for a command of the CI.
	Shield(w io.Writer) io.Writer
}

// Detect returns what the environment tells of the CI, and how to talk to it.
// getenv answers "" for an unset variable; log is where commands to the CI and
// annotations go (the step's stderr), and hidden the same without any masking:
// a runner has to read there what it is to hide.
func Detect(getenv func(string) string, log, hidden io.Writer) (Context, Emitter) {
	switch {
	case getenv("GITHUB_ACTIONS") != "":
		return detectGitHub(getenv), newGitHubEmitter(getenv, log, hidden)
	// gitlab-ci-local sets GITLAB_CI=false: presence decides.
	case getenv("GITLAB_CI") != "":
		return detectGitLab(getenv), gitlabEmitter{newLogEmitter(log)}
	case getenv("JENKINS_URL") != "" || getenv("JENKINS_HOME") != "":
		return detectJenkins(getenv), newLogEmitter(log)
	}
	return Context{Kind: Terminal}, newLogEmitter(log)
}

// LogValue lets a Context be logged in one line.
func (c Context) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, f := range []struct{ name, value string }{
		{"ci", string(c.Kind)}, {"branch", c.Branch}, {"tag", c.Tag}, {"revision", c.Revision}, {"pull-request", c.PullRequest},
	} {
		if f.value != "" {
			attrs = append(attrs, slog.String(f.name, f.value))
		}
	}
	return slog.GroupValue(attrs...)
}
