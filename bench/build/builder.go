package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/imagewright/imagewright/bench/hello"
	"github.com/imagewright/imagewright/bench/trial"
	"github.com/imagewright/imagewright/internal/record"
)

// builder makes images of a checkout that is its own.
type builder struct {
	name     string
	checkout string // folder
	program  string
	args     []string // of a build
	// image identifies what the last build made.
	image func() (string, error)
	last  string // what it said after the build before
	said  string // by the last build, to people
}

// newImagewright is imagewright-build on a checkout in dir; bases are the named
// contexts of the base images.
func newImagewright(s setting, name, dir string, bases []string, args ...string) (*builder, error) {
	checkout, err := hello.Checkout(dir, s.Example)
	if err != nil {
		return nil, err
	}
	args = append(slices.Clone(args), "--progress=plain")
	for _, b := range bases {
		args = append(args, "--build-contexts="+b)
	}
	return &builder{
		name: name, checkout: checkout, program: s.build, args: args,
		image: func() (string, error) {
			r, err := record.Read[record.Build](filepath.Join(checkout, ".imagewright"), "build")
			return r.Image.Digest, err
		},
	}, nil
}

// newBuildctl is buildctl on a buildkitd that runs. Its result is what ours is, a
// layout in a folder that gets only what it has not.
func newBuildctl(s setting, dir, addr string, bases []string) (*builder, error) {
	checkout, err := hello.Checkout(dir, s.Example)
	if err != nil {
		return nil, err
	}
	metadata := filepath.Join(dir, "metadata.json")
	args := []string{
		"--addr=" + addr, "build", "--progress=plain", "--frontend=dockerfile.v0", "--local=context=.", "--local=dockerfile=.",
		"--output=type=oci,tar=false,dest=" + filepath.Join(dir, "layout"), "--metadata-file=" + metadata,
	}
	for _, b := range bases {
		args = append(args, "--opt=context:"+b)
	}
	return &builder{
		name: "buildctl", checkout: checkout, program: s.buildctl, args: args,
		image: func() (string, error) {
			text, err := os.ReadFile(metadata)
			if err != nil {
				return "", err
			}
			var m struct {
				Digest string `json:"containerimage.digest"`
			}
			err = json.Unmarshal(text, &m)
			return m.Digest, err
		},
	}, nil
}

// after is a turn that changes the checkout, by a commit as in CI, and builds it.
// Without a change nothing is committed.
func (b *builder) after(change func(dir string, round int) error) turn {
	return func(ctx context.Context, round int) (time.Duration, error) {
		if change != nil {
			if err := b.commit(change, round+1); err != nil { // 0 is what the first build had
				return 0, err
			}
		}
		return b.build(ctx, change != nil)
	}
}

func (b *builder) commit(change func(dir string, round int) error, round int) error {
	if err := change(b.checkout, round); err != nil {
		return err
	}
	return hello.Commit(b.checkout, round)
}

// build builds the checkout and checks what came out.
func (b *builder) build(ctx context.Context, changed bool) (time.Duration, error) {
	took, err := b.run(ctx)
	if err != nil {
		return 0, err
	}
	return took, b.check(changed)
}

// run builds the checkout and returns how long the process took, from its start
// to its end. It ends with ctx and with us.
func (b *builder) run(ctx context.Context) (time.Duration, error) {
	cmd := trial.Command(ctx, b.program, b.args...)
	cmd.Dir, cmd.Env = b.checkout, trial.Environ(filepath.Dir(b.checkout))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	b.said = said.String()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w; it said:\n%s", b.name, err, b.said)
	}
	return took, nil
}

// check looks at the image. A builder that missed a change, or saw one where
// there is none, has not done what is measured.
func (b *builder) check(changed bool) error {
	image, err := b.image()
	if err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	before := b.last
	b.last = image
	switch same := image == before; {
	case same && changed:
		return fmt.Errorf("%s: something changed, and the image is %s still", b.name, image)
	case !same && !changed:
		return fmt.Errorf("%s: nothing changed, and yet the image was %s and is %s", b.name, before, image)
	}
	return nil
}
