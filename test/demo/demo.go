package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// demo is one run.
type demo struct {
	root string // of this repository
	work string // root/.demo
	app  string // the application's checkout
	name string // what its image is called

	own                bool // app is the user's, not a copy of the example
	databaseRepository string

	lock     *os.File
	registry *registry.Server
	maker    *images.Maker
	table    table
}

// prepare starts the registry and lays out the application and the database.
func prepare(ctx context.Context, root, app, databaseRepository string) (d *demo, err error) {
	d = &demo{
		root: root, work: filepath.Join(root, ".demo"), databaseRepository: databaseRepository,
		maker: &images.Maker{Cache: filepath.Join(root, ".cache", "images"), Log: os.Stdout},
	}
	defer func() {
		if err != nil {
			err = d.close(err)
		}
	}()
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	if err := d.makeFolders(); err != nil {
		return nil, err
	}
	if err := d.checkout(app); err != nil {
		return nil, err
	}
	if d.registry, err = registry.Start(ctx, registry.Options{Dir: d.registryDir()}); err != nil {
		return nil, err
	}
	say("a registry runs at %s until the end", d.registry.Addr())
	return d, d.seed(ctx)
}

// makeFolders lays out the work folder: the registry starts empty, the builder
// keeps its cache. Temporary files, ours and the steps', go into it too.
func (d *demo) makeFolders() error {
	err := errors.Join(os.RemoveAll(d.temporary()), os.RemoveAll(d.registryDir()))
	if d.databaseRepository == "" {
		// The scanner's copy of the last demo's database, which is at no address any more.
		err = errors.Join(err, os.RemoveAll(d.home()))
	}
	for _, dir := range []string{d.home(), d.temporary(), d.registryDir()} {
		err = errors.Join(err, os.MkdirAll(dir, 0o755))
	}
	return errors.Join(err, os.Setenv("TMPDIR", d.temporary()))
}

// takeLock keeps a second demo out of the same folder.
func (d *demo) takeLock() error {
	if err := os.MkdirAll(d.work, 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(d.work, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another demo runs in %s", d.work), file.Close())
	}
	d.lock = file
	return nil
}

// close takes down what prepare put up.
func (d *demo) close(err error) error {
	if d.registry != nil {
		err = errors.Join(err, d.registry.Stop())
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// seed pushes the vulnerability database, unless the user named one, and two
// old releases, so that prune has something to decide about.
func (d *demo) seed(ctx context.Context) error {
	for _, old := range []string{"v0.8.0-20250110-1f0c9d2", "v0.9.0-20250602-8be41a7"} {
		if err := d.pushOldRelease(ctx, old); err != nil {
			return err
		}
	}
	if d.databaseRepository != "" {
		say("vulnerability database: %s", d.databaseRepository)
		return nil
	}
	d.databaseRepository = d.registry.Addr() + "/trivy-db:2"
	ref, err := name.ParseReference(d.databaseRepository)
	if err != nil {
		return err
	}
	if _, err := database.Seed(ctx, ref, database.Options{}); err != nil {
		return err
	}
	say("vulnerability database: %s, a small one with true facts (test/database); DB_REPOSITORY= names another", d.databaseRepository)
	return nil
}

// pipeline runs the steps and says how it went.
func (d *demo) pipeline(ctx context.Context) error {
	bases, err := d.bases(ctx)
	if err != nil {
		return err
	}
	repository := d.repository()
	steps := []struct {
		name   string
		args   []string
		result func() (string, error)
	}{
		{"build", append([]string{"--progress=plain", "--state-dir=" + d.stateDir()}, bases...), d.built},
		{"scan", []string{"--db-repository=" + d.databaseRepository}, d.scanned},
		{"tag", nil, d.tagged},
		{"push", []string{"--images=" + repository}, d.pushed},
		{"prune", []string{"apply", "--repositories=" + repository, "--keep-last=1", "--grace=0"}, d.pruned(ctx)},
	}
	for _, s := range steps {
		if err := d.step(ctx, d.app, s.name, s.args, s.result); err != nil {
			d.table.print(os.Stdout)
			return err
		}
	}
	if err := d.runPushed(ctx); err != nil {
		d.table.print(os.Stdout)
		return err
	}
	d.table.print(os.Stdout)
	return d.gate(ctx)
}

// repository is where the application's image goes.
func (d *demo) repository() string { return d.registry.Addr() + "/" + d.name }

// stateDir is the builder's cache; it makes the second demo fast.
func (d *demo) stateDir() string { return filepath.Join(d.work, "state") }

func (d *demo) home() string { return filepath.Join(d.work, "home") }

func (d *demo) temporary() string { return filepath.Join(d.work, "tmp") }

func (d *demo) registryDir() string { return filepath.Join(d.work, "registry") }

func (d *demo) workspace() string { return filepath.Join(d.app, ".imagewright") }

func (d *demo) built() (string, error) {
	r, err := record.Read[record.Build](d.workspace(), "build")
	return fmt.Sprintf("%s, %s, %s", short(r.Image.Digest), humanSize(r.Image.Size), strings.Join(r.Image.Platforms, " ")), err
}

func (d *demo) scanned() (string, error) {
	r, err := record.Read[record.Scan](d.workspace(), "scan")
	return fmt.Sprintf("%s: %s", r.Verdict, counts(r.Counts)), err
}

func (d *demo) tagged() (string, error) {
	r, err := record.Read[record.Tag](d.workspace(), "tag")
	return strings.Join(r.Tags, ", "), err
}

func (d *demo) pushed() (string, error) {
	r, err := record.Read[record.Push](d.workspace(), "push")
	if err != nil || len(r.Targets) != 1 {
		return "", errors.Join(err, fmt.Errorf("the record names %d repositories, not one", len(r.Targets)))
	}
	return fmt.Sprintf("%s, %s sent", short(r.Targets[0].Digest), humanSize(r.Targets[0].BytesSent)), nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
