package scan

import (
	"context"
	"errors"
	"time"

	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/database"
	"github.com/imagewright/imagewright/steps/scan/detection"
	"golang.org/x/sync/errgroup"
)

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
