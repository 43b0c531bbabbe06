package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/imagewright/imagewright/internal/fault"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/moby/client"
)

// dialAgain is how often a buildkitd that is starting is tried.
const dialAgain = 200 * time.Millisecond

// containerName is what an engine accepts as a container's name or id.
// https://github.com/moby/moby/blob/docker-v29.0.0/daemon/names/names.go
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// Container returns a client of the buildkitd that runs in a container of the
// engine's, such as one that buildx made (buildx_buildkit_NAME0). Its buildctl
// is run there, once a connection. The client has to be closed before the
// engine. A name that no container can have is a usage error.
func (e *Engine) Container(ctx context.Context, name string) (*bkclient.Client, error) {
	what := fmt.Sprintf("docker-container://%s", name)
	if !containerName.MatchString(name) {
		return nil, fault.Usage(fmt.Errorf("docker-container://%.40q: no container has such a name", name), "want docker-container://NAME, as docker ps shows it")
	}
	found, err := e.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return nil, fault.Failed(fmt.Errorf("%s: the Docker Engine at %s has no such container", what, e.address), "docker ps -a lists them")
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	state := found.Container.State
	if state == nil || !state.Running || state.Paused {
		return nil, fault.Failed(fmt.Errorf("%s: the container does not run", what), "docker start "+name)
	}
	for deadline := time.Now().Add(connectTimeout); ; {
		c, err := e.dialStdio(ctx, found.Container.ID, []string{"buildctl", "dial-stdio"})
		if err == nil {
			return c, nil
		}
		// A buildctl that found no buildkitd: the container may have been started a
		// moment ago.
		if end, ok := errors.AsType[*exited](err); !ok || end.code != 1 || time.Now().After(deadline) {
			return nil, fault.Failed(fmt.Errorf("%s: %w", what, err), "it must hold buildkitd and buildctl, as moby/buildkit does")
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(dialAgain):
		}
	}
}

// dialStdio returns a client of the BuildKit that command, run in a container,
// connects its input and output with. It has answered. A command that ended
// instead is *exited.
func (e *Engine) dialStdio(ctx context.Context, container string, command []string) (*bkclient.Client, error) {
	var failed atomic.Pointer[error] // of the last dial; gRPC's errors are text
	note := func(err error) error {
		failed.Store(&err)
		return err
	}
	c, err := bkclient.New(ctx, "", bkclient.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := e.exec(ctx, container, command)
		if err != nil {
			return nil, note(err)
		}
		return noted{conn, note}, nil
	}))
	if err != nil {
		return nil, err
	}
	if err := answers(ctx, c); err != nil {
		if cause := failed.Load(); cause != nil && ctx.Err() == nil {
			err = *cause
		}
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// noted is a connection whose read errors are noted.
type noted struct {
	*execConn
	note func(error) error
}

// Read implements net.Conn.
func (n noted) Read(p []byte) (int, error) {
	read, err := n.execConn.Read(p)
	if err != nil {
		return read, n.note(err)
	}
	return read, nil
}
