package scan

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/detection"
)

// conclude reports the outcome and records the verdict, the record last.
func (s *Step) conclude(job *step.Job, p plan, o *outcome) error {
	if err := o.writeReports(p.reports); err != nil {
		return err
	}
	table := job.Stdout
	if s.inputs.Format == formatJSON {
		table = job.Untrusted()
		if err := writeJSON(job.Stdout, o.trivyReport()); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if err := o.writeTable(table, p.shown); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	if err := o.writeSummary(job, p.shown); err != nil {
		return err
	}
	if err := record.Write(job.Workspace, "scan", o.record()); err != nil {
		return err
	}
	job.Output("digest", o.subject.digest.String())
	for _, severity := range finding.Severities() {
		job.Output(strings.ToLower(severity.String()), strconv.Itoa(o.counts[severity]))
	}
	job.Output("json", reportPath(p.reports, formatJSON, job))
	job.Output("sarif", reportPath(p.reports, formatSARIF, job))
	job.Output("verdict", string(o.verdict()))
	if o.verdict() != record.Pass {
		return &refused{o.subject.digest.String(), o.counts, o.failOn}
	}
	return nil
}

func (o *outcome) record() *record.Scan {
	counts := map[string]int{}
	for severity, n := range o.counts {
		counts[severity.String()] = n
	}
	return &record.Scan{
		Digest:  o.subject.digest.String(),
		Verdict: o.verdict(),
		FailOn:  names(o.failOn),
		Counts:  counts,
		Database: record.Database{
			Version: o.database.Version, UpdatedAt: o.database.UpdatedAt, Digest: o.database.Digest, Repository: o.database.Repository,
		},
		ScannedAt: o.at,
	}
}

// warn says what the findings don't.
func (one *inspected) warn(job *step.Job) {
	os := detection.System(one.detail)
	if one.eosl {
		message := fmt.Sprintf("%s %s gets no security updates any more; what was found since is not in the database", os.Family, os.Name)
		job.Log.Warn(message)
		job.Annotate(ci.Annotation{Level: ci.Warning, Title: "End of life", Message: message})
	}
	if os.Family != "" && len(one.detail.Packages) == 0 {
		job.Log.Warn("the image is of a distribution, and its list of packages is missing: none of them was checked", "distribution", string(os.Family))
	}
	for i, u := range one.detail.Unidentified {
		if i == maxProblems {
			job.Log.Warn("more Java archives that nothing identifies", "count", len(one.detail.Unidentified)-i)
			break
		}
		job.Log.Warn("a Java archive that nothing in it identifies: its vulnerabilities are not known", "path", u.Path, "inside", u.Inside)
	}
	if one.packages() == 0 {
		job.Log.Warn("no package was found, so nothing was checked; allow-empty lets it pass", "digest", one.image.Digest)
	}
}
