package ci

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sethvargo/go-githubactions"
)

const (
	maxEventBytes   = 16 << 20 // GitHub caps a webhook payload at 25 MB; real ones have some kB, and of a larger one nothing is known
	maxSummaryBytes = 1 << 20  // a step's summary above 1 MiB is dropped whole
)

// event is what a payload says that no variable does.
// https://docs.github.com/en/webhooks/webhook-events-and-payloads
type event struct {
	Repository struct {
		eventRepository
		DefaultBranch string `json:"default_branch"`
	} `json:"repository"`
	PullRequest *struct {
		Number int `json:"number"`
		Head   struct {
			SHA  string           `json:"sha"`
			Ref  string           `json:"ref"`
			Repo *eventRepository `json:"repo"` // null once the fork is deleted
		} `json:"head"`
		Base struct {
			Repo eventRepository `json:"repo"`
		} `json:"base"`
	} `json:"pull_request"`
	WorkflowRun *struct {
		HeadRepository *eventRepository `json:"head_repository"`
	} `json:"workflow_run"`
}

type eventRepository struct {
	FullName string `json:"full_name"`
}

func detectGitHub(getenv func(string) string) Context {
	c := Context{
		Kind:     GitHub,
		Revision: getenv("GITHUB_SHA"),
		Event:    getenv("GITHUB_EVENT_NAME"),
	}
	if server, repository := getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"); server != "" && repository != "" {
		c.Repository = server + "/" + repository
		if run := getenv("GITHUB_RUN_ID"); run != "" {
			c.RunURL = c.Repository + "/actions/runs/" + run
		}
	}
	ref := getenv("GITHUB_REF")
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		c.Branch = branch
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		c.Tag = tag
	}
	e, err := readEvent(getenv("GITHUB_EVENT_PATH"))
	if err != nil {
		e = event{} // nothing is known of it
	}
	c.DefaultBranch = e.Repository.DefaultBranch
	if pr := e.PullRequest; pr != nil {
		c.PullRequest = strconv.Itoa(pr.Number)
		c.Branch = pr.Head.Ref
	}
	c.Fork = !e.own(c.Event)
	return c
}

// own tells whether the code of a run comes from the repository itself. Events
// that others cause hold the repository's secrets all the same, and then check
// out somebody's code: only what is known to be its own is trusted.
// https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
func (e event) own(name string) bool {
	switch {
	case e.PullRequest != nil:
		head := e.PullRequest.Head.Repo
		return head != nil && head.FullName != "" && head.FullName == e.PullRequest.Base.Repo.FullName
	case e.WorkflowRun != nil:
		head := e.WorkflowRun.HeadRepository
		return head != nil && head.FullName != "" && head.FullName == e.Repository.FullName
	}
	switch name {
	case "push", "create", "schedule", "workflow_dispatch", "repository_dispatch", "release", "registry_package",
		"merge_group", "deployment", "deployment_status", "page_build", "":
		return true
	}
	return false
}

func readEvent(path string) (event, error) {
	var e event
	f, err := os.Open(path)
	if err != nil {
		return e, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEventBytes))
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(data, &e)
}

type githubEmitter struct {
	masks   *githubactions.Action // writes what the runner is to hide
	action  *githubactions.Action
	getenv  func(string) string
	log     io.Writer
	summary int // bytes sent
}

func newGitHubEmitter(getenv func(string) string, log, hidden io.Writer) *githubEmitter {
	return &githubEmitter{
		masks:  githubactions.New(githubactions.WithWriter(hidden), githubactions.WithGetenv(getenv)),
		action: githubactions.New(githubactions.WithWriter(log), githubactions.WithGetenv(getenv)),
		getenv: getenv,
		log:    log,
	}
}

// Mask sends each line too: act hides the whole value only.
func (g *githubEmitter) Mask(secret string) {
	for _, part := range MaskParts(secret) {
		g.masks.AddMask(part)
	}
}

// Annotate implements Emitter.
func (g *githubEmitter) Annotate(a Annotation) {
	props := githubactions.CommandProperties{}
	if a.File != "" {
		props["file"] = a.File
	}
	if a.Line > 0 {
		props["line"] = strconv.Itoa(a.Line)
	}
	if a.EndLine > a.Line {
		props["endLine"] = strconv.Itoa(a.EndLine)
	}
	if a.Title != "" {
		props["title"] = a.Title
	}
	g.action.IssueCommand(&githubactions.Command{Name: string(a.Level), Message: a.Message, Properties: props})
}

// Group implements Emitter.
func (g *githubEmitter) Group(title string) func() {
	g.action.Group(title)
	return g.action.EndGroup
}

// Output writes to GITHUB_OUTPUT with a random delimiter that the value does
// not contain: a fixed one lets a multi-line value forge another output.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings
func (g *githubEmitter) Output(name, value string) error {
	delimiter := "iw_" + rand.Text()
	if strings.Contains(value, delimiter) || strings.ContainsAny(name, "\r\n=<") {
		return fmt.Errorf("output %q: the value cannot be written to GITHUB_OUTPUT", name)
	}
	return g.appendTo("GITHUB_OUTPUT", fmt.Sprintf("%s<<%s\n%s\n%s\n", name, delimiter, value, delimiter))
}

// Summary implements Emitter.
func (g *githubEmitter) Summary(markdown string) (bool, error) {
	if g.getenv("GITHUB_STEP_SUMMARY") == "" {
		return false, nil
	}
	markdown = truncate(markdown, maxSummaryBytes-g.summary)
	if markdown == "" {
		return true, nil
	}
	g.summary += len(markdown)
	return true, g.appendTo("GITHUB_STEP_SUMMARY", markdown)
}

// appendTo adds text to the file that variable names. A runner that names a
// file which cannot be opened (act with container actions) would leave every
// output empty and the step green, so that is an error.
func (g *githubEmitter) appendTo(variable, text string) error {
	path := g.getenv(variable)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write to the file that %s names: %w", variable, err)
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return fmt.Errorf("write to the file that %s names: %w", variable, err)
	}
	return f.Close()
}

// Shield breaks commands instead of switching them off with stop-commands: a
// killed step would leave the runner deaf.
func (g *githubEmitter) Shield(w io.Writer) io.Writer { return &shield{to: w} }

const truncatedNote = "\n\n(truncated)\n"

// truncate cuts markdown to at most limit bytes, at a line's end, and says so.
func truncate(markdown string, limit int) string {
	if len(markdown) <= limit {
		return markdown
	}
	if limit <= len(truncatedNote) {
		return ""
	}
	cut := markdown[:limit-len(truncatedNote)]
	if i := strings.LastIndexByte(cut, '\n'); i >= 0 {
		cut = cut[:i]
	}
	return cut + truncatedNote
}
