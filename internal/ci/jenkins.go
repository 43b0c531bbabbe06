package ci

import (
	"net/url"
	"strings"
)

// detectJenkins reads what a multibranch job and the git plugin set.
// https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
func detectJenkins(getenv func(string) string) Context {
	c := Context{
		Kind:       Jenkins,
		Repository: withoutUserinfo(getenv("GIT_URL")),
		Revision:   getenv("GIT_COMMIT"),
		Tag:        getenv("TAG_NAME"),
		RunURL:     getenv("BUILD_URL"),
	}
	branch := getenv("BRANCH_NAME")
	if branch == "" {
		branch = strings.TrimPrefix(getenv("GIT_BRANCH"), "origin/") // a job that is not multibranch
	}
	if c.Tag == "" {
		c.Branch = branch
	}
	if getenv("BRANCH_IS_PRIMARY") == "true" {
		c.DefaultBranch = branch
	}
	if c.PullRequest = getenv("CHANGE_ID"); c.PullRequest != "" {
		c.Event = "change"
		c.Branch = getenv("CHANGE_BRANCH")
		c.Fork = getenv("CHANGE_FORK") != "" // absent for a branch of the origin
	}
	return c
}

// withoutUserinfo removes the credentials an address may carry. What does not
// parse as a URL (git@host:path) carries none.
func withoutUserinfo(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}
