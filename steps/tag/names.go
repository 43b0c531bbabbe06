package tag

import (
	"fmt"
	"slices"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/source"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/internal/version"
)

const latest = "latest"

// name is a tag and why the image has it. The reason is ours alone: nothing
// from the CI or the checkout stands in it.
type name struct{ Tag, Why string }

// names returns the image's tags, narrow ones first, each once.
func (s *Step) names(r release, at commit, checkout source.Facts, job *step.Job) ([]name, error) {
	names := []name{{version.ReleaseName(r.Text, at.Date, at.Revision), "version, date and hash of the commit"}}
	if err := version.CheckName(names[0].Tag); err != nil {
		return nil, fault.Usage(fmt.Errorf("%s: %w", r.From, err), "use a shorter version")
	}
	for _, tag := range s.in.Tags {
		if err := checkExtra(tag); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(names, func(n name) bool { return n.Tag == tag }) {
			names = append(names, name{tag, "input tags"})
		}
	}
	due, why := s.latest(r, situationOf(job, checkout, s.in.DefaultBranch))
	if !due {
		job.Log.Info("not latest: " + why)
		return names, nil
	}
	job.Log.Info("latest: " + why)
	return append(names, name{latest, why}), nil
}

// checkExtra refuses what a further name cannot be.
func checkExtra(tag string) error {
	if err := version.CheckName(tag); err != nil {
		return fault.Usage(fmt.Errorf("input tags: %w", err), "")
	}
	switch class := version.Parse(tag).Class; {
	case class == version.Machinery || class == version.Trash:
		return fault.Usage(fmt.Errorf("input tags: %q has the form of names that registry tools keep for themselves", tag), "choose another name")
	case tag == latest:
		return fault.Usage(fmt.Errorf("input tags: %q is not accepted", tag), "input latest decides about it: auto, always or never")
	}
	return nil
}

// situation is what decides about latest.
type situation struct {
	PullRequest   bool // or code from a fork
	Tag           bool // the run is for a git tag
	Branch        string
	DefaultBranch string
}

// situationOf asks the input, the CI and the checkout, in this order. What the
// CI says of the branch is final: in a run for a tag or a pull request the
// checked out branch means nothing.
func situationOf(job *step.Job, checkout source.Facts, defaultBranch string) situation {
	run := job.CI
	now := situation{
		PullRequest:   run.PullRequest != "" || run.Fork,
		Tag:           run.Tag != "",
		Branch:        run.Branch,
		DefaultBranch: defaultBranch,
	}
	if now.Branch == "" && !now.Tag && !now.PullRequest {
		now.Branch = checkout.Branch
	}
	for _, known := range []string{run.DefaultBranch, checkout.DefaultBranch} {
		if now.DefaultBranch == "" {
			now.DefaultBranch = known
		}
	}
	return now
}

// latest decides whether the image is latest too, and says why or why not.
func (s *Step) latest(r release, now situation) (due bool, why string) {
	switch {
	case s.in.Latest == "never":
		return false, "input latest is never"
	case r.Prerelease:
		return false, "the version is a prerelease"
	case now.PullRequest:
		return false, "this is a pull request"
	case s.in.Latest == "always":
		return true, "input latest is always"
	case now.Tag:
		return false, "the run is for a git tag, not for the default branch (latest=always to allow)"
	case now.Branch == "":
		return false, "the branch is unknown"
	case now.DefaultBranch == "":
		return false, "the default branch is unknown (input default-branch names it)"
	case now.Branch != now.DefaultBranch:
		return false, "the branch is not the default one"
	}
	return true, "the default branch"
}
