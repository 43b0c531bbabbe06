// Package docker reaches a BuildKit through the API of a Docker Engine, without
// a docker program: the engine's own ([Engine.Client]), one that runs in a
// container ([Engine.Container]), or Imagewright's in a privileged container
// that is started for it ([Engine.Privileged]).
package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/moby/client"
)

// connectTimeout is for an engine to say who it is. One that is starting takes a
// second or two.
const connectTimeout = 20 * time.Second

// Options say which engine, and who hears of what is done with it.
type Options struct {
	// Environ is the environment that names the engine, NAME=value, the last of
	// a name counting. DOCKER_HOST comes first, then DOCKER_CONTEXT, then the
	// current context of DOCKER_CONFIG (or ~/.docker), then the system's socket
	// and the user's own. With DOCKER_CERT_PATH, or with DOCKER_TLS_VERIFY and
	// ~/.docker, TLS is spoken and always verified.
	Environ []string

	// Log gets a line for each container that is started or removed. nil:
	// nowhere.
	Log *slog.Logger
}

// Store is how an engine keeps its images.
type Store string

const (
	// Classic keeps layers as directories of a storage driver, not as blobs. It
	// is what engines before 23.0 have, and the default before 29.
	Classic Store = "classic"
	// Containerd keeps images as they are in a registry.
	Containerd Store = "containerd"
)

// Engine is a Docker Engine.
type Engine struct {
	api     *client.Client
	log     *slog.Logger
	environ map[string]string
	address string
	version string
	store   Store
}

// Connect finds the engine that o names and asks it who it is. What it returns
// must be closed. Errors are of class failed, with a hint.
func Connect(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{log: o.Log, environ: map[string]string{}}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	for _, v := range o.Environ {
		if name, value, ok := strings.Cut(v, "="); ok {
			e.environ[name] = value
		}
	}
	at, err := find(e.environ)
	if err != nil {
		return nil, err
	}
	e.address = at.host
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer in %s", connectTimeout))
	defer cancel()
	if err := at.probe(ctx); err != nil {
		return nil, e.unreachable(err)
	}
	if e.api, err = at.client(); err != nil {
		return nil, fault.Failed(fmt.Errorf("the Docker Engine at %s: %w", e.address, err), "see DOCKER_HOST, DOCKER_CERT_PATH and the current docker context")
	}
	if err := e.introduce(ctx); err != nil {
		return nil, errors.Join(err, e.api.Close())
	}
	return e, nil
}

// introduce learns what the engine is.
func (e *Engine) introduce(ctx context.Context) error {
	_, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil {
		return e.unreachable(err)
	}
	info, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return e.unreachable(err)
	}
	if info.Info.OSType != "linux" {
		return fault.Failed(fmt.Errorf("the Docker Engine at %s runs %.20q containers; Linux ones are built here", e.address, info.Info.OSType), "switch it to Linux containers")
	}
	e.version = info.Info.ServerVersion
	e.store = Classic
	// https://docs.docker.com/engine/storage/containerd/
	if slices.Contains(info.Info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"}) {
		e.store = Containerd
	}
	return nil
}

// unreachable is err of talking to the engine, with what may help.
func (e *Engine) unreachable(err error) error {
	hint := "see whether Docker runs there and whether DOCKER_HOST is right"
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "add this user to the group that owns the socket (usually docker), or run as root"
	case errors.Is(err, fs.ErrNotExist):
		hint = "start Docker, or mount its socket there (-v /var/run/docker.sock:/var/run/docker.sock)"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "start Docker: nothing listens there"
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok {
		err = dial.Err // it names the address again
	}
	return fault.Failed(fmt.Errorf("the Docker Engine at %s: %w", e.address, err), hint)
}

// Address returns where the engine is, as DOCKER_HOST has it.
func (e *Engine) Address() string { return e.address }

// Version returns the engine's version, such as "28.3.2".
func (e *Engine) Version() string { return e.version }

// Store returns how the engine keeps images.
func (e *Engine) Store() Store { return e.store }

// Client returns a client of the BuildKit that is part of the engine. It has to
// be closed before the engine.
//
// With the [Classic] store that BuildKit cannot write an image layout: see
// [Engine.NewImage], and [Engine.Check] for what else it cannot do.
func (e *Engine) Client(ctx context.Context) (*bkclient.Client, error) {
	c, err := bkclient.New(ctx, "",
		bkclient.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return e.api.DialHijack(ctx, "/grpc", "h2c", nil)
		}),
		bkclient.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return e.api.DialHijack(ctx, "/session", proto, meta)
		}))
	if err != nil {
		return nil, fmt.Errorf("the Docker Engine at %s: %w", e.address, err)
	}
	if err := answers(ctx, c); err != nil {
		return nil, fault.Failed(errors.Join(fmt.Errorf("BuildKit of the Docker Engine at %s: %w", e.address, err), c.Close()),
			"it must be Docker 20.10 or newer; Podman's service has no BuildKit")
	}
	return c, nil
}

// answers returns nil once the BuildKit behind c has answered.
func answers(ctx context.Context, c *bkclient.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer in %s", connectTimeout))
	defer cancel()
	// ListWorkers is older than Info, which Docker 20.10 has not.
	_, err := c.ListWorkers(ctx)
	if err != nil && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
}

// Close ends the connections to the engine.
func (e *Engine) Close() error { return e.api.Close() }
