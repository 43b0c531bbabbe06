package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/imagewright/imagewright/test/images"
)

// base is an image that stands in for one that a Dockerfile names, so that both
// builders start from the same bytes and neither needs a public registry.
type base struct {
	name  string // as in FROM
	image v1.Image
}

// makeBases makes the base images of the example; cache keeps them.
func makeBases(ctx context.Context, cache string) ([]base, error) {
	maker := &images.Maker{Cache: cache, Log: os.Stdout}
	var bases []base
	for _, name := range []string{golangBase, staticBase} {
		image, _, err := maker.StandIn(ctx, name)
		if err != nil {
			return nil, err
		}
		if image == nil {
			return nil, fmt.Errorf("test/images can make nothing in the place of %s", name)
		}
		bases = append(bases, base{name, image})
	}
	return bases, nil
}

// pushBases pushes them to the registry at addr and returns the flags that make
// imagewright-build take them from there.
func pushBases(ctx context.Context, addr string, bases []base) ([]string, error) {
	var flags []string
	for _, b := range bases {
		to, err := name.ParseReference(addr + "/bases/" + strings.TrimPrefix(b.name, "gcr.io/"))
		if err != nil {
			return nil, err
		}
		if err := remote.Write(to, b.image, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("push stand-in for %s: %w", b.name, err)
		}
		digest, err := b.image.Digest()
		if err != nil {
			return nil, err
		}
		flags = append(flags, fmt.Sprintf("--build-contexts=%s=docker-image://%s@%s", b.name, to.Context(), digest))
	}
	return flags, nil
}

// saveBases writes them as an archive for `docker load`, under their own names.
func saveBases(file string, bases []base) error {
	named := make(map[name.Tag]v1.Image)
	for _, b := range bases {
		tag, err := name.NewTag(b.name)
		if err != nil {
			return err
		}
		named[tag] = b.image
	}
	if err := tarball.MultiWriteToFile(file, named); err != nil {
		return fmt.Errorf("write base images for docker load: %w", err)
	}
	return nil
}
