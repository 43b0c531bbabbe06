package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// reachTimeout is how long a public registry gets to answer before the demo
// makes the base image itself.
const reachTimeout = 4 * time.Second

// bases returns the flags that tell build where the Dockerfile's base images
// are: none where the registries that it names answer.
func (d *demo) bases(ctx context.Context) ([]string, error) {
	names, err := baseNames(filepath.Join(d.app, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	var flags []string
	for _, base := range unreachable(ctx, names) {
		image, madeOf, err := d.maker.StandIn(ctx, base)
		if err != nil {
			return nil, err
		}
		if image == nil {
			say("base image %s: its registry does not answer, and the demo can make no such image", base)
			continue
		}
		to, err := name.ParseReference(d.registry.Addr() + "/bases/" + strings.TrimPrefix(base, "gcr.io/"))
		if err != nil {
			return nil, err
		}
		if err := remote.Write(to, image, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("push stand-in for %s: %w", base, err)
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		say("base image %s: its registry does not answer; in its place: %s", base, madeOf)
		flags = append(flags, fmt.Sprintf("--build-contexts=%s=docker-image://%s@%s", base, to.Context(), digest))
	}
	return flags, nil
}

// baseNames returns the images that a Dockerfile starts from or copies from.
func baseNames(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	stages, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var names, known []string
	known = append(known, "", "scratch")
	add := func(name string) {
		_, notNumber := strconv.Atoi(name) // COPY --from=0 is a stage
		if notNumber != nil && !slices.Contains(known, name) && !strings.Contains(name, "$") {
			names, known = append(names, name), append(known, name)
		}
	}
	for _, stage := range stages {
		add(stage.BaseName)
		for _, command := range stage.Commands {
			if c, ok := command.(*instructions.CopyCommand); ok {
				add(c.From)
			}
		}
		known = append(known, stage.Name)
	}
	return names, nil
}

// unreachable returns the images whose registries do not answer, in the given order.
func unreachable(ctx context.Context, names []string) []string {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	reached := make([]bool, len(names))
	var asking sync.WaitGroup
	for i, base := range names {
		asking.Go(func() {
			ref, err := name.ParseReference(base)
			if err != nil {
				return // build will say what is wrong with it
			}
			_, err = remote.Head(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
			// "No such image" is an answer too, and build's to report.
			answer := (*transport.Error)(nil)
			reached[i] = err == nil || errors.As(err, &answer)
		})
	}
	asking.Wait()
	var missing []string
	for i, base := range names {
		if !reached[i] {
			missing = append(missing, base)
		}
	}
	return missing
}
