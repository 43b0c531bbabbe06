// Package tag is imagewright-tag: it decides the names of the image that build
// made. It sets none: push does, in the repositories it is told.
package tag

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/source"
	"github.com/imagewright/imagewright/internal/step"
)

// Inputs of tag.
type Inputs struct {
	VersionFile   string   `name:"version-file" harmless:"" placeholder:"FILE" help:"File with the version on its first line. Without it the file VERSION is read, if there is one, and else the git tag of the commit counts."`
	Latest        string   `name:"latest" enum:"auto,always,never" default:"auto" help:"When the image is latest too: on the default branch (auto), on any branch or tag (always), or never. A prerelease and a pull request never are."`
	DefaultBranch string   `name:"default-branch" placeholder:"BRANCH" help:"The default branch. Without it the CI tells, or the clone."`
	Tags          []string `name:"tags" placeholder:"TAG" help:"Further names for the image, one a line."`
	step.Common
}

// Step is imagewright-tag.
type Step struct{ in Inputs }

// Inputs returns the inputs, to be filled.
func (s *Step) Inputs() any { return &s.in }

// Declaration says what tag is.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    "tag",
		Summary: "Decides the names of the image: its version's, and latest where it is due.",
		Description: "The name is v1.2.3-20231125-7a3b5c9: the version, the date of the commit (UTC) and its short hash, so the same commit always gets the same name. " +
			"The version stands in the file VERSION, or is the git tag of the commit, as https://semver.org has it. " +
			"On the default branch the image is latest too, unless it is a prerelease. " +
			"The names are written to the record, where push finds them.",
		Examples: []step.Example{
			{Text: "Name the image after VERSION and the commit", Command: "imagewright-tag"},
			{Text: "Another version file, a further name, and no latest", Command: "imagewright-tag --version-file=app/VERSION --tags=nightly --latest=never"},
		},
		Outputs: []step.Output{
			{Name: "version", Help: "The image's version, which is its first tag."},
			{Name: "tags", Help: "All tags, one a line, narrow ones first."},
			{Name: "digest", Help: "Digest of the image that build made, if it ran before."},
		},
	}
}

// Run decides the names and hands them on.
func (s *Step) Run(ctx context.Context, job *step.Job) error {
	built, err := record.Read[record.Build](job.Workspace, "build")
	if err != nil && !errors.Is(err, record.ErrNotFound) {
		return err
	}
	checkout, err := source.Read(ctx, job.Dir)
	if err != nil && !errors.Is(err, source.ErrNotRepository) {
		return err
	}
	at, err := commitOf(built.Source, checkout, job)
	if err != nil {
		return err
	}
	release, err := s.release(checkout, job)
	if err != nil {
		return err
	}
	job.Log.Info("version "+release.Text, "from", release.From)
	names, err := s.names(release, at, checkout, job)
	if err != nil {
		return err
	}
	return hand(names, built.Image.Digest, job)
}

// hand writes the names to wherever somebody looks for them. The record comes
// first: a step that could not write it must not look as if it had worked.
func hand(names []name, digest string, job *step.Job) error {
	made := record.Tag{Digest: digest}
	for _, n := range names {
		made.Tags = append(made.Tags, n.Tag)
	}
	if err := record.Write(job.Workspace, "tag", &made); err != nil {
		return err
	}
	all := strings.Join(made.Tags, "\n")
	job.Output("version", names[0].Tag)
	job.Output("tags", all)
	if digest != "" {
		job.Output("digest", digest)
	}
	// Tags hold no character that Markdown knows: they were checked.
	var table strings.Builder
	fmt.Fprintf(&table, "### Tags of %s\n\n| tag | why |\n|---|---|\n", names[0].Tag)
	for _, n := range names {
		fmt.Fprintf(&table, "| `%s` | %s |\n", n.Tag, n.Why)
	}
	job.Summary(table.String() + "\n")
	if _, err := fmt.Fprintln(job.Stdout, all); err != nil {
		return fmt.Errorf("print the tags: %w", err)
	}
	return nil
}
