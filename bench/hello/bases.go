package hello

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/test/images"
)

// The images that the example's Dockerfile starts from.
const (
	golangBase = "golang:1.26-bookworm"
	staticBase = "gcr.io/distroless/static-debian12:nonroot"
)

// Base is an image that stands in for one that the Dockerfile names, so that all
// builders start from the same bytes and none needs a public registry.
type Base struct {
	Name  string // as in FROM
	Image v1.Image
}

// MakeBases makes the base images of the example; the folder cache keeps them.
func MakeBases(ctx context.Context, cache string) ([]Base, error) {
	maker := &images.Maker{Cache: cache, Log: os.Stdout}
	var bases []Base
	for _, from := range []string{golangBase, staticBase} {
		image, _, err := maker.StandIn(ctx, from)
		if err != nil {
			return nil, err
		}
		if image == nil {
			return nil, fmt.Errorf("test/images can make nothing in the place of %s", from)
		}
		bases = append(bases, Base{from, image})
	}
	return bases, nil
}

// PushBases pushes them to the registry at addr, and returns the named contexts
// that make a builder take them from there: NAME=docker-image://REPOSITORY@DIGEST.
func PushBases(ctx context.Context, addr string, bases []Base) ([]string, error) {
	var contexts []string
	for _, b := range bases {
		to, err := name.ParseReference(addr + "/bases/" + strings.TrimPrefix(b.Name, "gcr.io/"))
		if err != nil {
			return nil, err
		}
		if err := remote.Write(to, b.Image, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("push stand-in for %s: %w", b.Name, err)
		}
		digest, err := b.Image.Digest()
		if err != nil {
			return nil, err
		}
		contexts = append(contexts, fmt.Sprintf("%s=docker-image://%s@%s", b.Name, to.Context(), digest))
	}
	return contexts, nil
}
