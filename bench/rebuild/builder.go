package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagewright/imagewright/bench/hello"
	"github.com/imagewright/imagewright/bench/trial"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/dockerd"
	"github.com/imagewright/imagewright/test/registry"
)

// builder makes images of a checkout that is its own.
type builder struct {
	name     string
	checkout string // folder
	program  string
	environ  []string
	args     []string // of a build
	// image identifies what the last build made.
	image func() (string, error)
}

// command is one of the builder's program, in its checkout.
func (b *builder) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := trial.Command(ctx, b.program, args...)
	cmd.Dir, cmd.Env = b.checkout, b.environ
	return cmd
}

// build builds the checkout and returns what came out and how long the process
// took, from its start to its end.
func (b *builder) build(ctx context.Context) (image string, took time.Duration, err error) {
	cmd := b.command(ctx, b.args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	err = cmd.Run()
	took = time.Since(began)
	if ctx.Err() != nil {
		return "", 0, ctx.Err()
	}
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w; it said:\n%s", b.name, err, said.Bytes())
	}
	image, err = b.image()
	return image, took, err
}

// newImagewright is imagewright-build with a state folder of its own and a
// registry that has the base images.
func newImagewright(ctx context.Context, s setting, bases []hello.Base) (b *builder, stop func() error, err error) {
	dir := filepath.Join(s.Work, "imagewright")
	home, state := filepath.Join(dir, "home"), filepath.Join(dir, "state")
	checkout, err := hello.Checkout(dir, s.Example)
	if err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, nil, err
	}
	server, err := registry.Start(ctx, registry.Options{Dir: filepath.Join(dir, "registry")})
	if err != nil {
		return nil, nil, err
	}
	contexts, err := hello.PushBases(ctx, server.Addr(), bases)
	if err != nil {
		_ = server.Stop() // what went wrong before it is the news
		return nil, nil, err
	}
	args := []string{"--progress=plain", "--state-dir=" + state, "--runtime=" + s.runc}
	for _, context := range contexts {
		args = append(args, "--build-contexts="+context)
	}
	return &builder{
		name: "imagewright-build", checkout: checkout, program: s.build, environ: trial.Environ(home), args: args,
		image: func() (string, error) {
			r, err := record.Read[record.Build](filepath.Join(checkout, ".imagewright"), "build")
			return r.Image.Digest, err
		},
	}, server.Stop, nil
}

// newDocker is docker build on a dockerd of our own that has the base images.
func newDocker(ctx context.Context, s setting, bases []hello.Base) (b *builder, stop func() error, err error) {
	dir := filepath.Join(s.Work, "docker")
	home, id := filepath.Join(dir, "home"), filepath.Join(dir, "image.id")
	checkout, err := hello.Checkout(dir, s.Example)
	if err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, nil, err
	}
	engine, err := dockerd.Launch(ctx, dockerd.Options{Program: s.dockerd, Dir: s.Work})
	if err != nil {
		return nil, nil, err
	}
	b = &builder{
		name: "docker build", checkout: checkout, program: s.docker,
		environ: append(trial.Environ(home), "DOCKER_HOST=unix://"+engine.Socket, "DOCKER_BUILDKIT=1"),
		// Our engine has no bridge. imagewright-build's RUN is in the host's network, too.
		args: []string{"build", "--network=host", "--progress=plain", "--iidfile=" + id, "--tag=hello-go", "."},
		image: func() (string, error) {
			text, err := os.ReadFile(id)
			return strings.TrimSpace(string(text)), err
		},
	}
	if err := loadBases(ctx, b, dir, bases); err != nil {
		_ = engine.Stop() // what went wrong before it is the news
		return nil, nil, err
	}
	return b, engine.Stop, nil
}
