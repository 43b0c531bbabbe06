package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/images"
)

// pushOldRelease pushes a small image under the tag of an older release.
func (d *demo) pushOldRelease(ctx context.Context, tag string) error {
	layer, err := images.TextLayer(map[string]string{"release": tag})
	if err != nil {
		return err
	}
	image, err := images.Compose(nil, []images.Step{{CreatedBy: "COPY release", Layer: layer}}, func(c *v1.Config) {
		c.Cmd = []string{"/release"}
	})
	if err != nil {
		return err
	}
	ref, err := name.NewTag(d.repository() + ":" + tag)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push old release %s: %w", tag, err)
	}
	return nil
}

// pruned says which tags are left, and that the one just pushed is among them.
func (d *demo) pruned(ctx context.Context) func() (string, error) {
	return func() (string, error) {
		repository, err := name.NewRepository(d.repository())
		if err != nil {
			return "", err
		}
		tags, err := remote.List(repository, remote.WithContext(ctx))
		if err != nil {
			return "", err
		}
		made, err := record.Read[record.Tag](d.workspace(), "tag")
		if err != nil {
			return "", err
		}
		for _, tag := range made.Tags {
			if !slices.Contains(tags, tag) {
				err = errors.Join(err, fmt.Errorf("prune deleted %s, which was pushed just before", tag))
			}
		}
		return "left: " + strings.Join(tags, ", "), err
	}
}
