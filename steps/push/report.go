package push

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// report tells what was done: the record, the outputs, a summary, and one line
// an image on standard output.
func report(job *step.Job, digest string, all targets) error {
	done := record.Push{Digest: digest}
	var images []string
	for _, t := range all {
		done.Targets = append(done.Targets, record.Target{
			Repository: t.repo.Name(), Digest: digest, Tags: t.tags, BytesSent: t.sent,
		})
		for _, tag := range t.tags {
			images = append(images, t.repo.Tag(tag).Name())
		}
	}
	if err := record.Write(job.Workspace, stepName, &done); err != nil {
		return err
	}
	job.Output("digest", digest)
	job.Output("images", strings.Join(images, "\n"))
	job.Summary(summary(digest, all))
	for _, image := range images {
		if _, err := fmt.Fprintf(job.Stdout, "%s@%s\n", image, digest); err != nil {
			return err
		}
	}
	return nil
}

// summary is Markdown. Repositories, tags and digests have passed a grammar
// without backquotes, bars and line ends: in code spans they need no escaping.
func summary(digest string, all targets) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Pushed\n\n`%s`\n\n| repository | tags | sent | already there |\n|---|---|---:|---:|\n", digest)
	for _, t := range all {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", t.repo.Name(), strings.Join(t.tags, "` `"),
			units.HumanSize(float64(t.sent)), units.HumanSize(float64(t.skipped)))
	}
	return b.String() + "\n"
}
