package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/database"
	"github.com/imagewright/imagewright/steps/scan/layercache"
	"github.com/imagewright/imagewright/steps/scan/parser"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"golang.org/x/sync/errgroup"
)

// gather finds out all there is to know about the image. The parser starts at
// once; then the image is opened, so that a mistake in its name is told first;
// then the database is made ready and the layers are read, at the same time. On
// success the caller closes what it returns.
func (s *Step) gather(ctx context.Context, job *step.Job, p plan, secretConfig []byte) (_ *outcome, err error) {
	client, err := s.client(job, p)
	if err != nil {
		return nil, err
	}
	rules := parser.Rules{Secrets: p.secrets, SecretConfig: secretConfig, SkipDirs: s.inputs.SkipDirs, SkipFiles: s.inputs.SkipFiles}
	reading, err := parser.Start(ctx, parser.Options{Sandbox: sandbox.Mode(s.inputs.Sandbox), Rules: rules})
	if err != nil {
		return nil, err
	}
	o := &outcome{failOn: p.failOn, at: time.Now().UTC(), parser: reading}
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
	if err := warnOfSandbox(ctx, reading, job.Log); err != nil {
		return nil, err
	}
	layers := &layerReader{parser: reading, plain: o.subject.plain, log: job.Log}
	if s.inputs.LayerCache {
		layers.cache = layercache.New(filepath.Join(p.cache, "layers"), reading.Key())
	}
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return layers.readAll(both, o.all) })
	if p.vulnerabilities {
		g.Go(func() (err error) {
			o.database, err = s.openDatabase(both, client, job, o.parser, p.cache)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return o, s.inspect(ctx, client, job, p, o)
}

// close ends what gather began.
func (o *outcome) close() error {
	err := o.parser.Close()
	if o.subject != nil {
		err = errors.Join(err, o.subject.close())
	}
	return err
}

// warnOfSandbox says, in one line, what does not confine the parser.
func warnOfSandbox(ctx context.Context, p *parser.Process, log *slog.Logger) error {
	status, err := p.Status(ctx)
	if err == nil && status.Warning() != "" {
		log.Warn(status.Warning())
	}
	return err
}

// inspect asks the parser what each image holds.
func (s *Step) inspect(ctx context.Context, client *registry.Client, job *step.Job, p plan, o *outcome) error {
	if err := o.inspectAll(ctx, p); err != nil {
		return err
	}
	needsIndex := slices.ContainsFunc(o.all, func(one *inspected) bool { return one.NeedsIndex })
	if !p.vulnerabilities || !needsIndex {
		return nil
	}
	if err := s.openIndex(ctx, client, job, o.parser, p.cache); err != nil {
		return err
	}
	return o.inspectAll(ctx, p)
}

func (o *outcome) inspectAll(ctx context.Context, p plan) error {
	for _, one := range o.all {
		img, err := one.question(o.subject.name, p)
		if err != nil {
			return err
		}
		if one.Report, err = o.parser.Inspect(ctx, img); err != nil {
			return fmt.Errorf("image %s: %w", one.image.Digest, err)
		}
	}
	return nil
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

// openDatabase gets the vulnerability database ready and has the parser open it.
func (s *Step) openDatabase(ctx context.Context, client *registry.Client, job *step.Job, p *parser.Process, cache string) (database.Metadata, error) {
	return ready(ctx, database.Options{
		Kind: database.Vulnerabilities(), CacheDir: cache, Repositories: s.inputs.DBRepository, SkipUpdate: s.inputs.SkipDBUpdate, Registry: client, Log: job.Log,
	}, p.OpenDatabase)
}

// openIndex does the same with the index of Java archives.
func (s *Step) openIndex(ctx context.Context, client *registry.Client, job *step.Job, p *parser.Process, cache string) error {
	_, err := ready(ctx, database.Options{
		Kind: database.Java(), CacheDir: cache, Repositories: s.inputs.JavaDBRepository, SkipUpdate: s.inputs.SkipJavaDBUpdate, Registry: client, Log: job.Log,
	}, p.OpenIndex)
	return err
}

// ready gets a database ready and has it opened: before it takes the place of
// another, too.
func ready(ctx context.Context, o database.Options, open func(context.Context, *os.File) error) (database.Metadata, error) {
	if len(o.Repositories) == 0 {
		o.Repositories = o.Kind.Repositories
	}
	opened := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return open(ctx, f)
	}
	o.Check = func(dir string) error { return opened(o.Kind.Path(dir)) }
	found, err := database.Ready(ctx, o)
	if err != nil {
		return database.Metadata{}, err
	}
	return found.Metadata, opened(found.Path)
}
