// Package push is the step that sends the recorded image to its registries:
// what the scan let through, byte for byte, and nothing else.
//
// In the order of Run: what is to be sent (gate.go, image.go), where to
// (target.go), the content of every repository (content.go), and only when all
// of it is everywhere the tags (tags.go).
package push

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
)

const stepName = "push"

// Step pushes.
type Step struct{ inputs Inputs }

// Inputs of push. Where docker/build-push-action or docker/login-action has an
// input, the name and the meaning are the same.
type Inputs struct {
	What       `group:"What to push, and where"`
	Policy     `group:"What is let through"`
	Registries `group:"Registries"`
	Limits     `group:"Limits"`
	step.Common
}

// What is the image and the names it gets.
type What struct {
	Images []string `name:"images" placeholder:"REPOSITORY" help:"Repositories to push to, one a line, without tags."`
	Tags   []string `name:"tags" placeholder:"TAG" help:"Tags to set in each repository, one a line. Without it, those that imagewright-tag made."`
	Source string   `name:"source" placeholder:"IMAGE" help:"Image to push: a layout directory, an archive, or a reference. Without it, the image that build made."`
}

// Policy decides what is pushed.
type Policy struct {
	ScanGate  string `name:"scan-gate" enum:"require,warn,off" default:"require" help:"What to do when no passing scan verdict belongs to exactly this image: refuse it with exit code 3, warn, or not even look."`
	Immutable bool   `name:"immutable" default:"true" negatable:"" help:"Refuse to move a tag that is a full version, such as v1.2.3, to another image."`
}

// Registries says who we are to the repositories of images.
type Registries struct {
	Username string   `name:"username" help:"User at the registries that images names; other registries never see it."`
	Password string   `name:"password" secret:"" help:"Password or token of that user."`
	Insecure []string `name:"insecure-registries" list:"csv" placeholder:"HOST[:PORT]" help:"Registries spoken to in plain HTTP; those on this machine's loopback always are."`
}

// Limits bound the work.
type Limits struct {
	Jobs    int           `name:"jobs" default:"4" help:"Requests in flight at once, per registry."`
	Timeout time.Duration `name:"timeout" default:"30m" placeholder:"DURATION" help:"Give up after this long; no tag has moved then, unless all content was there. 0 means never."`
}

// Declaration implements step.Step.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    stepName,
		Summary: "Sends the image that was scanned to its registries.",
		Description: `The image in the workspace goes to every repository of images, under the tags
that imagewright-tag made. It is refused, before anything is sent, unless scan
passed exactly this image. Content that a registry has is not sent again.

Tags move last: not one of them, in any repository, before every repository has
all of the image. A tag that is a full version never moves to another image.

Credentials: username and password; else those of docker login (DOCKER_CONFIG,
credential helpers); else the CI's own, for its own registry.`,
		Token: true,
		Examples: []step.Example{
			{Text: "Push the image that was built, scanned and tagged.", Command: "imagewright-push --images=ghcr.io/acme/app"},
			{Text: "To a registry on this machine, under a tag of one's own, without a scan.", Command: "imagewright-push --images=localhost:5000/app --tags=test --scan-gate=off"},
		},
		Outputs: []step.Output{
			{Name: "digest", Help: "Digest of the image, as every registry has it now."},
			{Name: "images", Help: "What was pushed, one repository:tag a line."},
		},
	}
}

// Inputs implements step.Step.
func (s *Step) Inputs() any { return &s.inputs }

// Run implements step.Step.
func (s *Step) Run(ctx context.Context, job *step.Job) error {
	in := &s.inputs
	if err := in.check(); err != nil {
		return err
	}
	if job.CI.Fork {
		return fault.Refused(errors.New("this run is for code from another repository (a fork), which decides about nothing that is pushed"),
			"push from runs of your own branches and tags")
	}
	if in.Timeout <= 0 {
		return s.push(ctx, job)
	}
	late := fmt.Errorf("not done within %s (input timeout)", in.Timeout)
	ctx, stop := context.WithTimeoutCause(ctx, in.Timeout, late)
	defer stop()
	err := s.push(ctx, job)
	if err != nil && errors.Is(context.Cause(ctx), late) {
		if !errors.Is(err, late) {
			err = fmt.Errorf("%w: %w", late, err)
		}
		return fault.Failed(err, "raise timeout, or look at the connection to the registry")
	}
	return err
}

// check finds what no network is needed for.
func (in *Inputs) check() error {
	switch {
	case len(in.Images) == 0:
		return fault.Usage(errors.New("input images: nowhere to push to"), "name at least one repository, such as ghcr.io/acme/app")
	case in.Jobs < 1 || in.Jobs > 64:
		return fault.Usage(fmt.Errorf("input jobs: %d is not accepted", in.Jobs), "want a number from 1 to 64")
	}
	return auth.CheckLogin(in.Username, in.Password, "IMAGEWRIGHT_PUSH_PASSWORD")
}

func (s *Step) push(ctx context.Context, job *step.Job) error {
	in := &s.inputs
	client, repositories, err := connect(in, job)
	if err != nil {
		return err
	}
	source, err := openSource(ctx, in.Source, job, client)
	if err != nil {
		return err
	}
	defer source.Close()
	digest := source.Descriptor.Digest.String()
	tags, err := wantedTags(in.Tags, job.Workspace, digest)
	if err != nil {
		return err
	}
	if err := passGate(in.ScanGate, job, digest); err != nil {
		return err
	}
	content, err := readContent(source)
	if err != nil {
		return err
	}
	if err := record.Remove(job.Workspace, stepName); err != nil {
		return err
	}
	targets := newTargets(client, repositories, content, in)
	if err := sendAll(ctx, job, targets, tags); err != nil {
		return err
	}
	return report(job, digest, targets)
}

// sendAll is all that needs the registries, in the order that makes an
// interrupted push harmless.
func sendAll(ctx context.Context, job *step.Job, targets targets, tags []string) error {
	if err := targets.look(ctx, tags); err != nil {
		return err
	}
	end := job.Group("push content")
	err := targets.send(ctx, job.Log)
	end()
	if err != nil {
		return err
	}
	return targets.moveTags(ctx, job.Log, tags)
}

// connect returns the client, and the repositories of images.
func connect(in *Inputs, job *step.Job) (*registry.Client, []name.Repository, error) {
	hosts, err := registryHosts(in.Images)
	if err != nil {
		return nil, nil, err
	}
	client, err := registry.New(registry.Options{
		Keychain: auth.Keychain(auth.Options{
			Registries: hosts, Username: in.Username, Password: in.Password, Environ: job.Environ,
		}),
		PlainHTTP: in.Insecure,
		CABundle:  job.CABundle(),
		Proxy:     job.Proxy(),
		Access:    registry.Push,
		UserAgent: "imagewright-push/" + step.Version(),
		Log:       job.Log,
	})
	if err != nil {
		return nil, nil, fault.Usage(err, "")
	}
	var repositories []name.Repository
	seen := map[string]bool{}
	for _, image := range in.Images {
		repo, err := client.Repository(image)
		if err != nil {
			return nil, nil, badRepository(image, err)
		}
		if !seen[repo.Name()] {
			repositories = append(repositories, repo)
		}
		seen[repo.Name()] = true
	}
	return client, repositories, nil
}

// registryHosts are those that the credentials of the inputs are for.
func registryHosts(images []string) ([]string, error) {
	var hosts []string
	for _, image := range images {
		repo, err := name.NewRepository(image)
		if err != nil {
			return nil, badRepository(image, err)
		}
		hosts = append(hosts, repo.RegistryStr())
	}
	return hosts, nil
}

func badRepository(image string, err error) error {
	if ref, parseErr := name.ParseReference(image); parseErr == nil && strings.HasPrefix(image, ref.Context().Name()) {
		return fault.Usage(fmt.Errorf("input images: %q has a tag or digest", image), "name the repository alone; tags go to the input tags")
	}
	return fault.Usage(fmt.Errorf("input images: %q is not a repository: %w", image, err), "want HOST/PATH, such as ghcr.io/acme/app")
}
