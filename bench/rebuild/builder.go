package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/imagewright/imagewright/internal/record"
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

// killAfter is how long a program may take to stop after SIGTERM.
const killAfter = 20 * time.Second

// command runs one of the builder's programs in the foreground; it ends with
// ctx and with us.
func (b *builder) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, b.environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	return cmd
}

// build builds the checkout and returns what came out and how long the process
// took, from its start to its end.
func (b *builder) build(ctx context.Context) (image string, took time.Duration, err error) {
	cmd := b.command(ctx, b.checkout, b.program, b.args...)
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

// plain is the environment of both builders: a terminal's, whatever CI this
// runs in, with a home of its own, so that nothing is left in the user's.
func plain(home string) []string {
	return []string{"HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
}

// newImagewright is imagewright-build with a state folder of its own and a
// registry that has the base images.
func newImagewright(ctx context.Context, s setting, bases []base) (b *builder, stop func() error, err error) {
	dir := filepath.Join(s.work, "imagewright")
	checkout, home, state := filepath.Join(dir, "hello-go"), filepath.Join(dir, "home"), filepath.Join(dir, "state")
	if err := makeCheckout(checkout, s.example); err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, nil, err
	}
	server, err := registry.Start(ctx, registry.Options{Dir: filepath.Join(dir, "registry")})
	if err != nil {
		return nil, nil, err
	}
	flags, err := pushBases(ctx, server.Addr(), bases)
	if err != nil {
		_ = server.Stop() // what went wrong before it is the news
		return nil, nil, err
	}
	flags = append(flags, "--progress=plain", "--state-dir="+state, "--runtime="+s.runc)
	return &builder{
		name: "imagewright-build", checkout: checkout, program: s.build, environ: plain(home), args: flags,
		image: func() (string, error) {
			r, err := record.Read[record.Build](filepath.Join(checkout, ".imagewright"), "build")
			return r.Image.Digest, err
		},
	}, server.Stop, nil
}

// newDocker is docker build on a dockerd of our own that has the base images.
func newDocker(ctx context.Context, s setting, bases []base) (b *builder, stop func() error, err error) {
	dir := filepath.Join(s.work, "docker")
	checkout, home, id := filepath.Join(dir, "hello-go"), filepath.Join(dir, "home"), filepath.Join(dir, "image.id")
	if err := makeCheckout(checkout, s.example); err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, nil, err
	}
	d, err := startDaemon(ctx, s.dockerd, dir)
	if err != nil {
		return nil, nil, err
	}
	b = &builder{
		name: "docker build", checkout: checkout, program: s.docker,
		environ: append(plain(home), "DOCKER_HOST=unix://"+d.socket, "DOCKER_BUILDKIT=1"),
		// Our daemon has no bridge. imagewright-build's RUN is in the host's network, too.
		args: []string{"build", "--network=host", "--progress=plain", "--iidfile=" + id, "--tag=hello-go", "."},
		image: func() (string, error) {
			text, err := os.ReadFile(id)
			return strings.TrimSpace(string(text)), err
		},
	}
	if err := loadBases(ctx, b, dir, bases); err != nil {
		_ = d.stop() // what went wrong before it is the news
		return nil, nil, err
	}
	return b, d.stop, nil
}

func loadBases(ctx context.Context, docker *builder, dir string, bases []base) error {
	archive := filepath.Join(dir, "bases.tar")
	if err := saveBases(archive, bases); err != nil {
		return err
	}
	out, err := docker.command(ctx, dir, docker.program, "load", "--quiet", "--input="+archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker load: %w; it said:\n%s", err, out)
	}
	return os.Remove(archive)
}
