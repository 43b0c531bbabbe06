// Package build is the step that turns a checkout with a Dockerfile into an
// image: an OCI layout in the workspace, and a record that names it. BuildKit
// does the work, inside this program or elsewhere.
//
// How inputs become an image: newPlan checks them before anything is started
// (plan.go and the files it calls); nodes are the builders that the plan needs,
// and what each is to build (nodes.go, assign.go, builder/); each solves
// (solve.go), from base images that are resolved first (bases.go), and its part
// comes into the layout in our form (fetch.go); the parts make one image
// (building.go), which is kept (result.go). What went wrong is explained
// (failure.go).
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// Step builds.
type Step struct{ inputs Inputs }

// Declaration implements step.Step.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    stepName,
		Summary: "Builds an image from a Dockerfile, without a Docker daemon.",
		Description: `BuildKit runs inside this program, as root, under sudo or as an ordinary user,
with runc or crun; or the build runs on a BuildKit elsewhere, or on a Docker
Engine. The image lands as an OCI layout in .imagewright/image: push sends it to
registries. The same commit gives the same digest, whatever the builder and
whatever its cache already holds.

Inputs that docker/build-push-action has too have the same names, meanings and
formats. docs/build.md maps all of them.`,
		Commands: []step.Command{
			{Name: "build", Summary: "Build the image (the default)."},
			{Name: "merge", Summary: "Join images that other jobs built for other platforms into one index."},
			{Name: "serve", Summary: "Run the builder for other programs, such as buildctl and docker buildx."},
		},
		Examples: []step.Example{
			{Text: "Build the checkout.", Command: "imagewright-build"},
			{Text: "One stage of another Dockerfile, with an argument.", Command: "imagewright-build --file=deploy/Dockerfile --target=server --build-args=GO_VERSION=1.26"},
			{Text: "Read and write a cache in a registry.", Command: "imagewright-build --cache-from=type=registry,ref=ghcr.io/acme/app:cache --cache-to=type=registry,ref=ghcr.io/acme/app:cache,mode=max"},
			{Text: "Two native builders, one index.", Command: "imagewright-build --builder=linux/amd64=tcp://a:1234 --builder=linux/arm64=tcp://b:1234"},
			{Text: "Join what two jobs built.", Command: "imagewright-build merge --sources=amd64/.imagewright --sources=arm64/.imagewright"},
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
	switch s.inputs.Command {
	case "merge":
		return s.merge(ctx, job)
	case "serve":
		return s.serve(ctx, job)
	}
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
func (s *Step) plan(ctx context.Context, job *step.Job) (*plan, error) {
	warn := func(err error) { job.Log.Warn("the checkout's git data cannot be read", "error", err) }
	p, err := newPlan(&s.inputs, surroundings{
		dir: job.Dir, workspace: job.Workspace, fork: job.CI.Fork, runURL: job.CI.RunURL,
		facts:  readFacts(ctx, job.Dir, job.CI, warn),
		stdin:  job.Stdin,
		getenv: job.Getenv,
		log:    func(message string) { job.Log.Info(message) },
		warn:   func(message string) { job.Log.Warn(message) },
	})
	if err != nil {
		return nil, err
	}
	for _, secret := range p.hidden() {
		job.Mask(string(secret))
	}
	return p, nil
}

func (s *Step) build(ctx context.Context, job *step.Job) (err error) {
	begun := time.Now()
	p, err := s.plan(ctx, job)
	if err != nil {
		return err
	}
	b := &building{job: job, plan: p, watcher: newWatcher(p.hidden())}
	if b.display, err = newDisplay(s.inputs.Progress, job.Untrusted(), step.Terminal(job.Stderr)); err != nil {
		return err
	}
	if b.session, err = s.session(job, p); err != nil {
		return err
	}
	if s.inputs.Call != "build" {
		return s.call(ctx, b)
	}
	defer func() { err = errors.Join(err, b.handOver()) }() // also what a build made that failed
	last, err := b.prepare(stateDir(job, &s.inputs))
	if err != nil {
		return err
	}
	defer p.outputs.discard()
	nodes, err := s.open(ctx, job, p)
	if err != nil {
		return err
	}
	parts, err := b.run(ctx, nodes)
	if err != nil {
		return errors.Join(err, engineLoss(closeAll(nodes)))
	}
	if err := closeAll(nodes); err != nil {
		job.Log.Warn("the builder did not end in order; its cache may have lost this build", "error", err)
	}
	made, err := b.assemble(parts)
	if err != nil {
		return err
	}
	made.Took = time.Since(begun)
	made.Steps, made.Cached = b.watcher.steps()
	return b.finish(ctx, made, last)
}

// call asks the frontend for what the input call says, and builds nothing.
func (s *Step) call(ctx context.Context, b *building) error {
	nodes, err := s.open(ctx, b.job, b.plan)
	if err != nil {
		return err
	}
	answer, err := b.call(ctx, nodes[0], s.inputs.Call)
	if err = errors.Join(err, closeAll(nodes)); err != nil {
		return err
	}
	return answer.tell(b.job)
}

// prepare opens what the build writes to, with what is remembered in state, and
// returns the digest of the image that stands there.
func (b *building) prepare(state string) (last string, err error) {
	if last, err = lastDigest(b.job.Workspace); err != nil {
		return "", err
	}
	if b.layout, err = image.CreateLayout(filepath.Join(b.job.Workspace, "image")); err != nil {
		return "", err
	}
	if state != "" {
		b.memory = image.OpenMemory(filepath.Join(state, "normal-layers.json"))
	}
	b.store = buildkit.LayoutStore(b.layout)
	b.incoming = buildkit.LayoutStore(image.Incoming{Layout: b.layout, Memory: b.memory})
	for _, dir := range b.plan.localCaches() {
		if err := b.plan.outputs.mkdir(dir); err != nil {
			return "", fmt.Errorf("input cache-to: %w", err)
		}
	}
	b.files, err = b.plan.outputs.exports(b.plan.date, b.job.Stdout)
	return last, err
}

// handOver gives what root made in the checkout to its owner.
func (b *building) handOver() error {
	err := b.plan.outputs.handOver(b.job.HandOver)
	for _, dir := range b.plan.localCaches() {
		err = errors.Join(err, b.job.HandOver(dir))
	}
	return err
}

// finish keeps what was made, and tells of it.
func (b *building) finish(ctx context.Context, made result, last string) error {
	f := b.plan.facts
	err := made.keep(b.job.Workspace, b.layout, &record.Build{
		Source:    record.Source{Repository: f.Repository, Revision: f.Revision, Ref: f.Ref, Date: f.Date},
		Materials: made.Materials,
		SBOM:      b.plan.attestations.sbom,
		Names:     b.plan.outputs.references(),
	})
	if err != nil {
		return err
	}
	made.sweepPlainLayers(b.job)
	if err := b.memory.Save(); err != nil {
		b.job.Log.Warn("the next build rewrites its layers again", "error", err)
	}
	if err := sweepCaches(b.plan.cacheTo, time.Now()); err != nil {
		b.job.Log.Warn("a local cache keeps what it no longer needs", "error", err)
	}
	if err := b.plan.outputs.write(ctx, b.layout, made.Root); err != nil {
		return err
	}
	if err := made.tell(b.job, last != made.Root.Digest.String()); err != nil || b.plan.outputs.toStdout() {
		return err
	}
	_, err = fmt.Fprintln(b.job.Stdout, made.Root.Digest)
	return err
}

// session is what a builder may ask this process for while it builds: the
// secrets, SSH agents, and credentials for registries.
func (s *Step) session(job *step.Job, p *plan) ([]session.Attachable, error) {
	credentials, err := s.credentials(job)
	if err != nil {
		return nil, err
	}
	all := []session.Attachable{secretsprovider.FromMap(p.secrets), credentials}
	if p.ssh != nil {
		all = append(all, p.ssh)
	}
	return all, nil
}

// stateDir is where the next build finds what this one remembers; "" where this
// user has no place for it.
func stateDir(job *step.Job, in *Inputs) string {
	if in.StateDir != "" {
		return job.Abs(in.StateDir)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/imagewright"
	}
	if data := job.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "imagewright")
	}
	if home := job.Getenv("HOME"); filepath.IsAbs(home) { // else it would be in the checkout
		return filepath.Join(home, ".local", "share", "imagewright")
	}
	return ""
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
