package scan

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// render has each SBOM that the plan asks for made.
func (o *outcome) render(ctx context.Context, p plan, made func(context.Context, string, types.Report) ([]byte, error)) error {
	if isSBOM(p.format) && len(o.all) > 1 {
		return fault.Usage(fmt.Errorf("input format: %s is about one image, and there are %d platforms", p.format, len(o.all)), "choose one with platform, or write files with reports")
	}
	o.documents = map[document][]byte{}
	for _, format := range p.sbomFormats() {
		for _, one := range o.all {
			text, err := made(ctx, format, o.reportOf(one))
			if err != nil {
				return fmt.Errorf("image %s: %w", one.image.Digest, err)
			}
			o.documents[document{format, one.image.Digest}] = withoutCommands(text) // also in a file: people print it
		}
	}
	return nil
}

// conclude reports the outcome and records the verdict, the record last.
func (o *outcome) conclude(job *step.Job, p plan) error {
	if err := o.writeReports(p); err != nil {
		return err
	}
	if err := o.show(job, p); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	if err := o.writeSummary(job, p.shown); err != nil {
		return err
	}
	var statements []record.Attestation
	if p.statement {
		var err error
		if statements, err = o.writeStatements(job.Workspace); err != nil {
			return err
		}
	}
	if err := record.Write(job.Workspace, "scan", o.record(p, statements)); err != nil {
		return err
	}
	job.Output("digest", o.subject.digest.String())
	for _, severity := range finding.Severities() {
		job.Output(strings.ToLower(severity.String()), strconv.Itoa(o.counts[severity]))
	}
	for _, format := range []string{formatJSON, formatSARIF, formatGitLab} {
		job.Output(format, reportPath(p.reports, format, job))
	}
	job.Output("verdict", string(o.verdict()))
	if o.verdict() != record.Pass {
		return &refused{o.subject.digest.String(), o.failing, o.failOn}
	}
	return nil
}

// show writes what format says to standard output; the table is never lost.
func (o *outcome) show(job *step.Job, p plan) error {
	if p.format == formatTable {
		return o.write(job.UntrustedResult(), formatTable, p)
	}
	if err := o.write(job.Untrusted(), formatTable, p); err != nil {
		return err
	}
	if p.format == formatJUnit || p.format == formatMarkdown { // text of a finding may begin a line
		return o.write(job.UntrustedResult(), p.format, p)
	}
	document, err := o.document(p)
	if err != nil {
		return err
	}
	_, err = job.Stdout.Write(withoutCommands(document))
	return err
}

// document is what the format, one of JSON, says of the image.
func (o *outcome) document(p plan) ([]byte, error) {
	if isSBOM(p.format) {
		return o.documents[document{p.format, o.all[0].image.Digest}], nil
	}
	var b bytes.Buffer
	err := o.write(&b, p.format, p)
	return b.Bytes(), err
}

func (o *outcome) record(p plan, statements []record.Attestation) *record.Scan {
	counts := map[string]int{}
	for severity, n := range o.counts {
		counts[severity.String()] = n
	}
	scan := &record.Scan{
		Digest:  o.subject.digest.String(),
		Verdict: o.verdict(),
		FailOn:  names(o.failOn),
		Counts:  counts,
		Database: record.Database{
			Version: o.database.Version, UpdatedAt: o.database.UpdatedAt, Digest: o.database.Digest, Repository: o.database.Repository,
		},
		ScannedAt:    o.at,
		Attestations: statements,
	}
	if !p.vulnerabilities {
		scan.Scanners = []string{"secret"}
	}
	if len(p.pkgTypes) == 1 {
		scan.PkgTypes = p.pkgTypes
	}
	return scan
}

// warn says what the findings don't about vulnerabilities.
func (one *inspected) warn(job *step.Job) {
	os := one.OS
	if one.EndOfLife {
		message := fmt.Sprintf("%s %s gets no security updates any more; what was found since is not in the database", os.Family, os.Name)
		job.Log.Warn(message)
		job.Annotate(ci.Annotation{Level: ci.Warning, Title: "End of life", Message: message})
	}
	if os.Family != "" && one.SystemPackages == 0 {
		job.Log.Warn("the image is of a distribution, and its list of packages is missing: none of them was checked", "distribution", string(os.Family))
	}
	for i, u := range one.Unidentified {
		if i == maxProblems {
			job.Log.Warn("more Java archives that nothing identifies", "count", len(one.Unidentified)-i)
			break
		}
		job.Log.Warn("a Java archive that nothing in it identifies: its vulnerabilities are not known", "path", u.Path, "inside", u.Inside)
	}
	if one.Packages == 0 {
		job.Log.Warn("no package was found, so nothing was checked; allow-empty lets it pass", "digest", one.image.Digest)
	}
}
