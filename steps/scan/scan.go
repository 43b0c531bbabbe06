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
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/database"
)

// Step is imagewright-scan.
type Step struct{ inputs Inputs }

// Inputs returns the step's inputs.
func (s *Step) Inputs() any { return &s.inputs }

// Declaration describes the step.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    "scan",
		Summary: "Finds known vulnerabilities and secrets in an image and decides whether it may go on.",
		Description: "Reads each layer once, finds the packages of distributions and languages and matches them with Trivy's database, and finds secrets, also in files that a later layer removed. " +
			"The verdict belongs to the image's digest; push asks for it.\n\n" +
			"It fails closed: without a database, with a file it cannot read, or when no package was found, there is no verdict and the exit code is 1. Exit code 3 means that the verdict is no.",
		Examples: []step.Example{
			{Text: "Scan what build made; fail on critical vulnerabilities.", Command: "imagewright-scan"},
			{Text: "Fail on high ones too, but only where an update exists.", Command: "imagewright-scan --fail-on=high --ignore-unfixed"},
			{Text: "Scan an image in a registry, and write its report where you like.", Command: "imagewright-scan --source=ghcr.io/acme/hello:v1.2.3 --reports=sarif=hello.sarif"},
			{Text: "List its packages, and look for secrets alone.", Command: "imagewright-scan --scanners=secret --format=spdx-json --output=hello.spdx.json"},
		},
		Outputs: []step.Output{
			{Name: "verdict", Help: "The verdict on this digest: pass or fail."},
			{Name: "digest", Help: "Digest the verdict is about."},
			{Name: "critical", Help: "Number of critical findings."},
			{Name: "high", Help: "Number of high findings."},
			{Name: "medium", Help: "Number of medium findings."},
			{Name: "low", Help: "Number of low findings."},
			{Name: "unknown", Help: "Number of findings nobody has rated."},
			{Name: "json", Help: "Path of the report in Trivy's schema."},
			{Name: "sarif", Help: "Path of the report in SARIF."},
			{Name: "gitlab", Help: "Path of the report as GitLab's container scanning has it."},
		},
		Reports: map[string]string{"container_scanning": "reports/" + gitlabFile},
	}
}

// outcome is all that a finished scan knows.
type outcome struct {
	subject  *subject
	all      []*inspected
	findings []finding.Finding
	counts   finding.Counts
	failing  finding.Counts // of the findings that count
	left     leftOut
	failOn   []finding.Severity
	database database.Metadata // zero: vulnerabilities were not looked for
	at       time.Time
	reading  *reading

	documents map[document][]byte // SBOMs
}

// gcPercent is how much larger memory may grow before garbage is collected: this
// process reads answers and writes reports, some MB together.
const gcPercent = 400

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
	// A program that ends in a moment needs no tidy memory.
	debug.SetGCPercent(gcPercent)
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

// leastCPU is enough to say no more than that the timeout was too short.
const leastCPU = time.Minute

// maxCPU bounds what the parser computes, so that it ends even where nobody ends
// it: to what all processors do until the timeout, and 0, no bound, without one.
func (l Limits) maxCPU() time.Duration {
	if l.Timeout <= 0 {
		return 0
	}
	if n := time.Duration(runtime.NumCPU()); l.Timeout < math.MaxInt64/n {
		return max(n*l.Timeout, leastCPU)
	}
	return 0
}

func (s *Step) scan(ctx context.Context, job *step.Job, p plan) error {
	files, err := s.inputs.readFiles(job, time.Now())
	if err != nil {
		return err
	}
	if p.statement, err = wantsStatement(job, p.source); err != nil {
		return err
	}
	o, err := s.gather(ctx, job, p, files.secretConfig)
	if err != nil {
		return err
	}
	defer o.close()
	if err := check(o.all, p, s.inputs.AllowEmpty); err != nil {
		return err
	}
	if p.vulnerabilities {
		for _, one := range o.all {
			one.warn(job)
		}
	}
	o.judge(p, files)
	files.ignores.tell(job)
	if err := o.render(ctx, p, o.reading.render); err != nil {
		return err
	}
	return o.conclude(job, p)
}
