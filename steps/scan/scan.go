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
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/auth"
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

// gather opens the image, so that a mistake in its name is told first, then gets
// the database ready and analyses the image, at the same time. On success the
// caller closes what it returns.
func (s *Step) gather(ctx context.Context, job *step.Job, p plan) (*outcome, *detection.Database, error) {
	client, err := s.client(job, p)
	if err != nil {
		return nil, nil, err
	}
	o := &outcome{failOn: p.failOn, at: time.Now().UTC()}
	if o.subject, err = openSubject(ctx, p, client, job); err != nil {
		return nil, nil, err
	}
	job.Log.Info("scanning", "image", o.subject.name, "digest", o.subject.digest)
	var db *detection.Database
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		db, o.database, err = s.openDatabase(ctx, client, job, p)
		return err
	})
	g.Go(func() error {
		return safely(func() (err error) {
			o.all, err = inspect(ctx, o.subject.images)
			return err
		})
	})
	if err := g.Wait(); err != nil {
		err = errors.Join(err, o.subject.close())
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return nil, nil, err
	}
	return o, db, nil
}

func (s *Step) client(job *step.Job, p plan) (*registry.Client, error) {
	opts := registry.Options{
		PlainHTTP: s.inputs.Insecure,
		CABundle:  job.CABundle(),
		Proxy:     job.Proxy(),
		UserAgent: "imagewright-scan/" + step.Version(),
		Log:       job.Log,
	}
	anonymous, err := registry.New(opts)
	if err != nil {
		return nil, err
	}
	login := auth.Options{Environ: job.Environ}
	if host := registryOf(p.source, anonymous); host != "" { // never sent to the database's registry
		login.Registries, login.Username, login.Password = []string{host}, s.inputs.Username, s.inputs.Password
	}
	opts.Keychain = auth.Keychain(login)
	return registry.New(opts)
}

func (s *Step) openDatabase(ctx context.Context, client *registry.Client, job *step.Job, p plan) (*detection.Database, database.Metadata, error) {
	repositories := s.inputs.DBRepository
	if len(repositories) == 0 {
		repositories = database.DefaultRepositories()
	}
	ready, err := database.Ready(ctx, database.Options{
		CacheDir:     p.cache,
		Repositories: repositories,
		SkipUpdate:   s.inputs.SkipDBUpdate,
		Registry:     client,
		Log:          job.Log,
		Check:        checkDatabase,
	})
	if err != nil {
		return nil, database.Metadata{}, err
	}
	db, err := detection.Open(ready.Dir)
	return db, ready.Metadata, err
}

// checkDatabase tells whether the database in dir can be used.
func checkDatabase(dir string) error {
	db, err := detection.Open(dir)
	if err != nil {
		return err
	}
	return db.Close()
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
