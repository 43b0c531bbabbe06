// Package build is the step that turns a checkout with a Dockerfile into an
// image: an OCI layout in the workspace, and a record that names it. BuildKit
// does the work, inside this program.
//
// How inputs become a build: newPlan checks them before anything is started
// (plan.go and the files it calls); Run starts the engine, solves, and keeps
// the result (result.go) or says what went wrong (failure.go).
package build

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	digest "github.com/opencontainers/go-digest"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
)

// Step builds.
type Step struct{ inputs Inputs }

// Declaration implements step.Step.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    stepName,
		Summary: "Builds an image from a Dockerfile, without a Docker daemon.",
		Description: `BuildKit runs inside this program, as root, with runc or crun. The image lands
as an OCI layout in .imagewright/image, and nowhere else: push sends it to
registries. The same commit gives the same digest, whatever the builder's cache
already holds.

Inputs that docker/build-push-action has too have the same names, meanings and
formats. docs/build.md maps all of them.`,
		Examples: []step.Example{
			{Text: "Build the checkout.", Command: "imagewright-build"},
			{Text: "One stage of another Dockerfile, with an argument.", Command: "imagewright-build --file=deploy/Dockerfile --target=server --build-args=GO_VERSION=1.26"},
			{Text: "Read and write a cache in a registry.", Command: "imagewright-build --cache-from=type=registry,ref=ghcr.io/acme/app:cache --cache-to=type=registry,ref=ghcr.io/acme/app:cache,mode=max"},
		},
		Reports: map[string]string{"codequality": "reports/" + codeQualityFile},
		Outputs: []step.Output{
			{Name: "digest", Help: "Digest of the image's manifest."},
			{Name: "imageid", Help: "Digest of the image's config, which docker images shows as its id."},
			{Name: "metadata", Help: "What BuildKit says of the result, as JSON."},
			{Name: "changed", Help: "Whether the workspace held another image, or none, before: true or false."},
		},
	}
}

// Inputs implements step.Step.
func (s *Step) Inputs() any { return &s.inputs }

// Run implements step.Step.
func (s *Step) Run(ctx context.Context, job *step.Job) error {
	err := s.build(ctx, job)
	if failed, ok := errors.AsType[*failure](err); ok {
		err = errors.Join(err, failed.writeTo(job.Untrusted()))
	}
	if reportErr := reportFindings(job, findings(err)); reportErr != nil {
		return errors.Join(err, fmt.Errorf("write the report: %w", reportErr))
	}
	return err
}

// plan makes the plan, and has its secrets hidden.
func (s *Step) plan(ctx context.Context, job *step.Job) (*plan, facts, error) {
	warn := func(err error) { job.Log.Warn("the checkout's git data cannot be read", "error", err) }
	around := surroundings{
		dir: job.Dir, workspace: job.Workspace, fork: job.CI.Fork,
		facts:  readFacts(ctx, job.Dir, job.CI, warn),
		getenv: job.Getenv,
		log:    func(message string) { job.Log.Info(message) },
	}
	p, err := newPlan(&s.inputs, around)
	if err != nil {
		return nil, around.facts, err
	}
	for _, secret := range p.secrets {
		job.Mask(string(secret))
	}
	return p, around.facts, nil
}

func (s *Step) build(ctx context.Context, job *step.Job) error {
	begun := time.Now()
	p, facts, err := s.plan(ctx, job)
	if err != nil {
		return err
	}
	watcher := newWatcher(p.secrets)
	display, err := newDisplay(s.inputs.Progress, job.Untrusted(), step.Terminal(job.Stderr))
	if err != nil {
		return err
	}
	attachables, err := s.session(job, p)
	if err != nil {
		return err
	}
	last, err := lastDigest(job.Workspace)
	if err != nil {
		return err
	}
	layout, err := image.CreateLayout(filepath.Join(job.Workspace, "image"))
	if err != nil {
		return err
	}
	engine, err := s.start(ctx, job, p)
	if err != nil {
		return err
	}
	store := buildkit.LayoutStore(layout)
	work := &solver{
		client: engine.Client(), plan: p, session: attachables, known: map[string]digest.Digest{},
		exports: []client.ExportEntry{layoutExport(store, p.date)},
	}
	statuses, watched := make(chan *client.SolveStatus), make(chan struct{})
	go func() {
		defer close(watched)
		watcher.watch(ctx, display, statuses)
	}()
	response, err := work.solve(ctx, statuses)
	<-watched // the channel is closed by then
	if written := store.Err(); err != nil && written != nil && ctx.Err() == nil {
		err = &layoutFailure{written, job.Rel(layout.Dir())}
	}
	if err != nil {
		err = cmp.Or(layoutError(err), explainUnless(ctx, err, p, watcher))
		return errors.Join(err, engineLoss(engine.Close()))
	}
	if err := engine.Close(); err != nil {
		job.Log.Warn("the engine did not end in order; its cache may have lost this build", "error", err)
	}
	made, err := readResult(response, layout, p.platform)
	if err != nil {
		return err
	}
	made.Took = time.Since(begun)
	made.Steps, made.Cached = watcher.steps()
	if err := made.keep(job.Workspace, layout, facts); err != nil {
		return err
	}
	return made.tell(job, response, last != made.Root.Digest.String())
}

// session is what the engine may ask this process for while it builds: the
// secrets, and credentials for registries.
func (s *Step) session(job *step.Job, p *plan) ([]session.Attachable, error) {
	in := &s.inputs
	authorities, err := auth.CAs(job.CABundle())
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input ca-bundle: %w", err), "")
	}
	keychain := auth.Keychain(auth.Options{
		Registries: []string{cmp.Or(in.Registry, "docker.io")},
		Username:   in.Username,
		Password:   in.Password,
		Environ:    job.Environ,
	})
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = job.Proxy()
	transport.TLSClientConfig = &tls.Config{RootCAs: authorities}
	return []session.Attachable{
		secretsprovider.FromMap(p.secrets),
		newCredentials(keychain, in.Insecure, transport),
	}, nil
}

// start starts the engine.
func (s *Step) start(ctx context.Context, job *step.Job, p *plan) (*buildkit.Engine, error) {
	in := &s.inputs
	engine, err := buildkit.Start(ctx, buildkit.Options{
		StateDir:      stateDir(job, in),
		RuntimeBinary: in.Runtime,
		PlainHTTP:     in.Insecure,
		CABundle:      job.CABundle(),
		MaxSize:       p.stateLimit,
		Environ:       withProxies(job.Environ, in.Common),
		Log:           job.Log,
		Stderr:        job.Untrusted(),
		Wait: func(holder string) {
			job.Log.Info("another build uses this builder; waiting for it", "holder", holder)
		},
	})
	if err == nil && engine.Snapshotter() == "native" {
		job.Log.Warn("layers are copied, which is slow: the file system of state-dir takes no overlay", "dir", stateDir(job, in))
	}
	return engine, err
}

func stateDir(job *step.Job, in *Inputs) string {
	if in.StateDir != "" {
		return job.Abs(in.StateDir)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/imagewright"
	}
	data := cmp.Or(job.Getenv("XDG_DATA_HOME"), filepath.Join(job.Getenv("HOME"), ".local", "share"))
	return filepath.Join(data, "imagewright")
}

// withProxies is environ with the proxy inputs in it; the last value of a name
// counts.
func withProxies(environ []string, in step.Common) []string {
	out := append([]string(nil), environ...)
	for _, p := range []struct{ upper, lower, value string }{
		{"HTTP_PROXY", "http_proxy", in.HTTPProxy},
		{"HTTPS_PROXY", "https_proxy", in.HTTPSProxy},
		{"NO_PROXY", "no_proxy", in.NoProxy},
	} {
		if p.value != "" {
			out = append(out, p.upper+"="+p.value, p.lower+"="+p.value)
		}
	}
	return out
}
