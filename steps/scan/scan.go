// Package scan finds known vulnerabilities in an image and decides whether it
// may go on.
//
// It fails closed: a pass is recorded only after everything was read, matched
// and reported. Whatever goes wrong before leaves no pass, not even that of an
// earlier run.
package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/database"
	"github.com/imagewright/imagewright/steps/scan/detection"
)

// Step is imagewright-scan.
type Step struct{ inputs Inputs }

// Inputs returns the step's inputs.
func (s *Step) Inputs() any { return &s.inputs }

// Declaration describes the step.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    "scan",
		Summary: "Finds known vulnerabilities in an image and decides whether it may go on.",
		Description: "Reads each layer once, finds the packages of Debian, Ubuntu and Alpine, Go programs, npm, Python and Java packages, and matches them with Trivy's database. " +
			"The verdict belongs to the image's digest; push asks for it.\n\n" +
			"It fails closed: without a database, with a file it cannot read, or when no package was found, there is no verdict and the exit code is 1. Exit code 3 means that the verdict is no.",
		Examples: []step.Example{
			{Text: "Scan what build made; fail on critical vulnerabilities.", Command: "imagewright-scan"},
			{Text: "Fail on high ones too, but only where an update exists.", Command: "imagewright-scan --fail-on=high --ignore-unfixed"},
			{Text: "Scan an image in a registry, and write its report where you like.", Command: "imagewright-scan --source=ghcr.io/acme/hello:v1.2.3 --reports=sarif=hello.sarif"},
		},
		Outputs: []step.Output{
			{Name: "verdict", Help: "The verdict on this digest: pass or fail."},
			{Name: "digest", Help: "Digest the verdict is about."},
			{Name: "critical", Help: "Number of critical vulnerabilities."},
			{Name: "high", Help: "Number of high vulnerabilities."},
			{Name: "medium", Help: "Number of medium vulnerabilities."},
			{Name: "low", Help: "Number of low vulnerabilities."},
			{Name: "unknown", Help: "Number of vulnerabilities nobody has rated."},
			{Name: "json", Help: "Path of the report in Trivy's schema."},
			{Name: "sarif", Help: "Path of the report in SARIF."},
		},
	}
}

// outcome is all that a finished scan knows.
type outcome struct {
	subject  *subject
	all      []*inspected
	findings []finding.Finding
	counts   finding.Counts
	failOn   []finding.Severity
	database database.Metadata
	at       time.Time
}

func (o *outcome) verdict() record.Verdict {
	if fails(o.counts, o.failOn) {
		return record.Fail
	}
	return record.Pass
}

// Run scans, reports and records the verdict, in this order.
func (s *Step) Run(ctx context.Context, job *step.Job) error {
	p, err := s.inputs.plan(job)
	if err != nil {
		return err
	}
	if limit := s.inputs.Timeout; limit > 0 {
		tooLong := fault.Failed(fmt.Errorf("scan: not finished after %s", limit), "set timeout to more, or to 0 for no limit")
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, tooLong)
		defer cancel()
	}
	quiet(job.Log)
	job.Output("verdict", string(record.Fail)) // until it is known to be another
	if err := errors.Join(record.Remove(job.Workspace, "scan"), forget(slices.Concat(defaultReports(job), p.reports))); err != nil {
		return err
	}
	err = s.scan(ctx, job, p)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (s *Step) scan(ctx context.Context, job *step.Job, p plan) error {
	o, db, err := s.gather(ctx, job, p)
	if err != nil {
		return err
	}
	defer o.subject.close()
	defer db.Close()
	if err := check(o.all, s.inputs.AllowEmpty); err != nil {
		return err
	}
	for _, one := range o.all {
		if one.results, one.eosl, err = db.Detect(ctx, one.detail, detection.Options{Name: o.subject.name}); err != nil {
			return fmt.Errorf("image %s: %w", one.image.Digest, err)
		}
		if s.inputs.IgnoreUnfixed {
			dropUnfixed(one.results)
		}
		o.findings = append(o.findings, findings(one.results)...)
		one.warn(job)
	}
	finding.Sort(o.findings)
	o.counts = finding.Count(o.findings)
	return s.conclude(job, p, o)
}
