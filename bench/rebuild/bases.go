package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/imagewright/imagewright/bench/hello"
)

// loadBases gives the base images to docker's daemon, under their own names; dir
// is for the archive.
func loadBases(ctx context.Context, docker *builder, dir string, bases []hello.Base) error {
	archive := filepath.Join(dir, "bases.tar")
	if err := saveBases(archive, bases); err != nil {
		return err
	}
	out, err := docker.command(ctx, "load", "--quiet", "--input="+archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker load: %w; it said:\n%s", err, out)
	}
	return os.Remove(archive)
}

func saveBases(file string, bases []hello.Base) error {
	named := make(map[name.Tag]v1.Image)
	for _, b := range bases {
		tag, err := name.NewTag(b.Name)
		if err != nil {
			return err
		}
		named[tag] = b.Image
	}
	if err := tarball.MultiWriteToFile(file, named); err != nil {
		return fmt.Errorf("write base images for docker load: %w", err)
	}
	return nil
}
