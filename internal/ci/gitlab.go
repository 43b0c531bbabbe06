package ci

import (
	"fmt"
	"strings"
	"time"
)

// detectGitLab reads the predefined variables.
// https://docs.gitlab.com/ci/variables/predefined_variables/
func detectGitLab(getenv func(string) string) Context {
	c := Context{
		Kind:          GitLab,
		Repository:    getenv("CI_PROJECT_URL"),
		Revision:      getenv("CI_COMMIT_SHA"),
		Branch:        getenv("CI_COMMIT_BRANCH"), // absent in merge request and tag pipelines
		Tag:           getenv("CI_COMMIT_TAG"),
		DefaultBranch: getenv("CI_DEFAULT_BRANCH"),
		PullRequest:   getenv("CI_MERGE_REQUEST_IID"),
		Event:         getenv("CI_PIPELINE_SOURCE"),
		RunURL:        getenv("CI_PIPELINE_URL"),
	}
	if c.PullRequest != "" {
		c.Branch = getenv("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
		// A member may start a fork's pipeline in the parent, with the parent's variables.
		c.Fork = getenv("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH") != getenv("CI_PROJECT_PATH")
	}
	return c
}

// gitlabEmitter folds groups with section markers.
// https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
type gitlabEmitter struct{ *logEmitter }

// Group implements Emitter.
func (g gitlabEmitter) Group(title string) func() {
	name := sectionName(title)
	fmt.Fprintf(g.log, "\x1b[0Ksection_start:%d:%s\r\x1b[0K%s\n", time.Now().Unix(), name, Printable(title))
	return func() { fmt.Fprintf(g.log, "\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", time.Now().Unix(), name) }
}

// sectionName keeps the letters, digits and underscores that GitLab takes.
func sectionName(title string) string {
	return "iw_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, title)
}
