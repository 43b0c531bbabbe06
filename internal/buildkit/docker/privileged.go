package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/imagewright/imagewright/internal/fault"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/moby/client"
)

const (
	// builderLabel is on a builder's container and volume; its value says of what
	// it was made.
	builderLabel = "org.imagewright.builder"

	builderSocket = "unix:///run/imagewright-build.sock"
	builderState  = "/var/lib/imagewright"
	builderCA     = "/etc/imagewright/ca.pem"

	maxBundle = 8 << 20 // bytes of a file of certificates

	// maxStarts bounds how often a builder is tried that others replace at the
	// same time.
	maxStarts = 5
)

// PrivilegedOptions say what a builder is made of. Another value of any makes
// another builder, with a state of its own.
type PrivilegedOptions struct {
	// Image of imagewright-build; it is pulled when the engine has not got it.
	// Default: the image of the container that this process runs in.
	Image string

	// Program is the path of imagewright-build in it. Default: this program's own
	// path, or, where Image is given, imagewright-build on the image's PATH.
	Program string

	// Arguments are further ones of imagewright-build serve. Not for secrets: who
	// may use the engine can read them.
	Arguments []string

	// Environ holds variables of the container, NAME=value, such as those that
	// name proxies. Not for secrets either.
	Environ []string

	// CABundle is a PEM file whose content is handed to serve as its ca-bundle.
	// It may be "".
	CABundle string

	// Network of the container, and so of registries and RUN steps. Default:
	// host, as with the embedded builder.
	Network string
}

// builder is a container that runs imagewright-build serve, and its volume.
type builder struct {
	engine  *Engine
	options PrivilegedOptions
	image   string // id
	program string
	ca      []byte
	key     string // digest of all of the above
	name    string // of the container and of the volume
}

// Privileged returns a client of an Imagewright builder in a privileged
// container of the engine's: one that an earlier build left there, or a new one.
// It stays when the client and the engine are closed, for the next build;
// [Engine.RemovePrivileged] removes it. The container mounts nothing of the
// host's; its state is in a volume, and it is spoken to through exec.
func (e *Engine) Privileged(ctx context.Context, o PrivilegedOptions) (*bkclient.Client, error) {
	b, err := e.builder(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("docker-privileged: %w", err)
	}
	for start := 1; ; start++ {
		id, fresh, err := b.up(ctx)
		if err != nil {
			return nil, fmt.Errorf("docker-privileged: container %s: %w", b.name, err)
		}
		c, err := e.dialStdio(ctx, id, []string{b.program, stdioName, builderSocket})
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if said := b.log(ctx, id); said != "" {
			err = fmt.Errorf("%w; its log ends with: %s", err, said)
		}
		// One that worked once may have been stopped at this moment: it gets a
		// second chance. After that, and when it is new, it goes: nothing broken
		// is left for the next build.
		if fresh || start > 1 {
			e.log.Warn("removing a builder that does not answer", "container", b.name, "error", err)
			err = errors.Join(err, b.remove(ctx, id))
		}
		if fresh || start == maxStarts {
			return nil, fault.Failed(fmt.Errorf("docker-privileged: container %s: %w", b.name, err),
				"the engine must allow privileged containers, and the image hold imagewright-build and runc; builder-rm removes the builder's state")
		}
	}
}

// RemovePrivileged removes the builder that [Engine.Privileged] with the same
// options uses, and its state. A build that still uses it fails. One that is not
// there is no error.
func (e *Engine) RemovePrivileged(ctx context.Context, o PrivilegedOptions) error {
	b, err := e.builder(ctx, o)
	if err != nil {
		return fmt.Errorf("docker-privileged: %w", err)
	}
	if err := b.remove(ctx, b.name); err != nil {
		return fmt.Errorf("docker-privileged: remove container %s: %w", b.name, err)
	}
	_, err = e.api.VolumeRemove(ctx, b.name, client.VolumeRemoveOptions{})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("docker-privileged: remove volume %s: %w", b.name, err)
	}
	e.log.Info("removed the builder and its state", "container", b.name)
	return nil
}

// builder works out what builder o is about.
func (e *Engine) builder(ctx context.Context, o PrivilegedOptions) (*builder, error) {
	o.Network = cmp.Or(o.Network, "host")
	b := &builder{engine: e, options: o, program: o.Program}
	var err error
	if o.Image != "" {
		b.program = cmp.Or(b.program, "imagewright-build")
		b.image, err = e.imageID(ctx, o.Image)
	} else {
		if b.program == "" {
			if b.program, err = os.Executable(); err != nil {
				return nil, err
			}
		}
		b.image, err = e.ownImage(ctx)
	}
	if err != nil {
		return nil, err
	}
	if o.CABundle != "" {
		if b.ca, err = readBundle(o.CABundle); err != nil {
			return nil, fault.Usage(fmt.Errorf("CA bundle: %w", err), "")
		}
	}
	all, err := json.Marshal([]any{b.image, b.program, o.Arguments, o.Environ, b.ca, o.Network})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(all)
	b.key = hex.EncodeToString(sum[:])
	b.name = "imagewright-build-" + b.key[:12]
	return b, nil
}

// imageID returns the id of an image, which the engine has or gets.
func (e *Engine) imageID(ctx context.Context, name string) (string, error) {
	found, err := e.api.ImageInspect(ctx, name)
	if err == nil {
		return found.ID, nil
	}
	if !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("image %q: %w", name, err)
	}
	e.log.Info("pulling the builder's image", "image", name)
	pulled, err := e.api.ImagePull(ctx, name, client.ImagePullOptions{})
	if err == nil {
		err = pulled.Wait(ctx)
	}
	if err != nil {
		return "", fault.Failed(fmt.Errorf("pull image %q: %w", name, err), "docker pull it first, where that takes a login")
	}
	found, err = e.api.ImageInspect(ctx, name)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", name, err)
	}
	return found.ID, nil
}

func readBundle(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pems, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	if err == nil && len(pems) > maxBundle {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxBundle)
	}
	return pems, err
}
