package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/database"
	"github.com/imagewright/imagewright/steps/scan/kept"
	"github.com/imagewright/imagewright/steps/scan/parser"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
)

// gathering is a scan on its way to an outcome.
type gathering struct {
	inputs *Inputs
	plan   plan
	job    *step.Job
	client *registry.Client
	*reading
	layers  *layerReader
	images  *kept.Answers // what they hold; nil: nothing is kept
	outcome *outcome

	vulnerabilities database.Database // zero: they are not looked for
	opened, indexed bool              // the parser has that database, and the index of Java archives
}

// gather finds out all there is to know about the image: first it is opened, so
// that a mistake in its name is told first; then the database is made ready and
// the layers are read, at the same time; then what they hold is put together and
// looked up. On success the caller closes what it returns.
func (s *Step) gather(ctx context.Context, job *step.Job, p plan, secretConfig []byte) (_ *outcome, err error) {
	client, err := s.client(job, p)
	if err != nil {
		return nil, err
	}
	o := &outcome{failOn: p.failOn, at: time.Now().UTC()}
	g := &gathering{inputs: &s.inputs, plan: p, job: job, client: client, outcome: o}
	rules := parser.Rules{Secrets: p.secrets, SecretConfig: secretConfig, SkipDirs: s.inputs.SkipDirs, SkipFiles: s.inputs.SkipFiles}
	o.reading = &reading{ctx: ctx, options: parser.Options{Sandbox: sandbox.Mode(s.inputs.Sandbox), MaxCPU: s.inputs.maxCPU(), Rules: rules}, log: job.Log}
	g.reading = o.reading
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.subject, err = openSubject(ctx, p, client, job); err != nil {
		return nil, err
	}
	job.Log.Info("scanning", "image", o.subject.name, "digest", o.subject.digest)
	if o.all, err = open(o.subject.images); err != nil {
		return nil, err
	}
	g.layers = &layerReader{reading: g.reading, plain: o.subject.plain, log: job.Log, read: map[layerID]bool{}}
	if s.inputs.LayerCache {
		results := filepath.Join(p.cache, "results")
		g.layers.kept = kept.In(results, "layers-"+rules.Key())
		g.images = kept.In(results, "images-"+rules.Key())
	}
	return o, g.run(ctx)
}

func (g *gathering) run(ctx context.Context) error {
	both, sub := errgroup.WithContext(ctx)
	both.Go(func() error { return g.layers.readUnknown(sub, g.outcome.all) })
	if g.plan.vulnerabilities {
		both.Go(func() (err error) {
			g.vulnerabilities, err = g.readyDatabase(sub)
			g.outcome.database = g.vulnerabilities.Metadata
			if err == nil && g.started() {
				err = g.openDatabase(sub) // it will be needed
			}
			return err
		})
	}
	if err := both.Wait(); err != nil {
		return err
	}
	var reports []*parser.Report
	for _, one := range g.outcome.all {
		if err := g.inspect(ctx, one); err != nil {
			return fmt.Errorf("image %s: %w", one.image.Digest, err)
		}
		reports = append(reports, one.Report)
		if err := parser.CheckSize(reports...); err != nil {
			return err
		}
	}
	g.trim()
	return nil
}

// close ends what gather began.
func (o *outcome) close() error {
	err := o.reading.close()
	if o.subject != nil {
		err = errors.Join(err, o.subject.close())
	}
	return err
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
	if host := registryOf(p.source, job, anonymous); host != "" { // never sent to the database's registry
		login.Registries, login.Username, login.Password = []string{host}, s.inputs.Username, s.inputs.Password
	}
	opts.Keychain = auth.Keychain(login)
	return registry.New(opts)
}

// readyDatabase gets the vulnerability database ready.
func (g *gathering) readyDatabase(ctx context.Context) (database.Database, error) {
	return g.ready(ctx, database.Options{Kind: database.Vulnerabilities(), Repositories: g.inputs.DBRepository, SkipUpdate: g.inputs.SkipDBUpdate}, (*parser.Process).OpenDatabase)
}

// openDatabase has the parser open the vulnerability database.
func (g *gathering) openDatabase(ctx context.Context) error {
	if g.opened {
		return nil
	}
	g.opened = true
	return g.handOver(ctx, g.vulnerabilities.Path, (*parser.Process).OpenDatabase)
}

// openIndex gets the index of Java archives ready and has the parser open it.
func (g *gathering) openIndex(ctx context.Context) error {
	if g.indexed {
		return nil
	}
	index, err := g.ready(ctx, database.Options{Kind: database.Java(), Repositories: g.inputs.JavaDBRepository, SkipUpdate: g.inputs.SkipJavaDBUpdate}, (*parser.Process).OpenIndex)
	if err != nil {
		return err
	}
	g.indexed = true
	return g.handOver(ctx, index.Path, (*parser.Process).OpenIndex)
}

// ready gets a database ready. One that was downloaded is opened by the parser
// before it takes the place of another.
func (g *gathering) ready(ctx context.Context, o database.Options, open opener) (database.Database, error) {
	if len(o.Repositories) == 0 {
		o.Repositories = o.Kind.Repositories
	}
	o.CacheDir, o.Registry, o.Log = g.plan.cache, g.client, g.job.Log
	o.Check = func(dir string) error { return g.handOver(ctx, o.Kind.Path(dir), open) }
	return database.Ready(ctx, o)
}

// opener is how the parser opens a database.
type opener func(*parser.Process, context.Context, *os.File) error

// handOver has the parser open the database at path.
func (g *gathering) handOver(ctx context.Context, path string, open opener) error {
	p, err := g.parser(ctx)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return open(p, ctx, f)
}
