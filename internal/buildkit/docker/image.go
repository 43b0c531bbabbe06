package docker

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/moby/client"
)

// removeTimeout is for an engine to remove an image: a build that is told to
// stop waits for it.
const removeTimeout = 30 * time.Second

// Image is the result of a build in an engine with the [Classic] store, for as
// long as it takes to read it. There it has a name of its own, so that another
// build of the same content cannot take it away.
type Image struct {
	engine *Engine
	name   string
}

// NewImage returns an image that a build can be exported to. [Image.Remove] it
// in the end, whatever became of the build.
func (e *Engine) NewImage() *Image {
	return &Image{engine: e, name: "imagewright-build:" + strings.ToLower(rand.Text())}
}

// Export is the exporter of a solve that makes the image.
func (i *Image) Export() bkclient.ExportEntry {
	return bkclient.ExportEntry{Type: "moby", Attrs: map[string]string{"name": i.name}}
}

// Save returns the image as an archive of docker save (since Docker 25 one that
// is an OCI layout as well): its config is the one that was built; its layers
// are mostly not compressed, and their dates are the engine's. It is not called
// by our name in there.
func (i *Image) Save(ctx context.Context) (io.ReadCloser, error) {
	found, err := i.engine.api.ImageInspect(ctx, i.name)
	if err != nil {
		return nil, fmt.Errorf("image that the Docker Engine built: %w", err)
	}
	archive, err := i.engine.api.ImageSave(ctx, []string{found.ID})
	if err != nil {
		return nil, fmt.Errorf("save the image that the Docker Engine built: %w", err)
	}
	return archive, nil
}

// Remove takes our name from the image, and with it the image where nothing
// else names it. What the engine keeps to build it again faster stays. An image
// that was never made is no error.
func (i *Image) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, fmt.Errorf("no answer in %s", removeTimeout))
	defer cancel()
	_, err := i.engine.api.ImageRemove(ctx, i.name, client.ImageRemoveOptions{PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove %s from the Docker Engine: %w", i.name, err)
	}
	return nil
}
