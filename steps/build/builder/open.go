package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/buildkit/remote"
)

// embedded starts the BuildKit inside this program, or joins one.
func (o Options) embedded(ctx context.Context) (*Builder, error) {
	engine, err := buildkit.Start(ctx, o.Embedded)
	if err != nil {
		return nil, err
	}
	if engine.Snapshotter() == "native" {
		o.Log.Warn("layers are copied, which is slow: the file system of state-dir takes no overlay", "dir", engine.StateDir())
	}
	where := fmt.Sprintf("embedded (%s)", engine.Mode())
	if engine.Joined() {
		where = fmt.Sprintf("embedded (%s, with other builds)", engine.Mode())
	}
	return &Builder{Client: engine.Client(), Kind: Embedded, Where: where, Dates: true, Rootless: engine.Mode() == buildkit.Rootless, close: []func() error{engine.Close}}, nil
}

// remote connects to a BuildKit at an address.
func (o Options) remote(ctx context.Context, at remote.Address) (*Builder, error) {
	c, err := remote.Dial(ctx, at, remote.Options{TLS: o.TLS, Environ: o.Environ, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return &Builder{Client: c, Kind: Remote, Where: at.String(), tls: at.TLS(), close: []func() error{c.Close}}, nil
}

// onEngine opens a builder that a Docker Engine has.
func (o Options) onEngine(ctx context.Context, n Node) (*Builder, error) {
	engine, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	var b *Builder
	switch n.Kind {
	case Docker:
		b, err = o.engineItself(ctx, engine)
	case Privileged:
		b, err = o.privileged(ctx, engine)
	default:
		b, err = o.container(ctx, engine, n)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return b, nil
}

func (o Options) connect(ctx context.Context) (*docker.Engine, error) {
	return docker.Connect(ctx, docker.Options{Environ: o.Environ, Log: o.Log})
}

// engineItself is the BuildKit in e. The builder closes e.
func (o Options) engineItself(ctx context.Context, e *docker.Engine) (*Builder, error) {
	if err := e.Check(o.Needs); err != nil {
		return nil, err
	}
	c, err := e.Client(ctx)
	if err != nil {
		return nil, err
	}
	where := fmt.Sprintf("docker %s at %s (%s image store)", e.Version(), e.Address(), e.Store())
	return &Builder{Client: c, Kind: Docker, Where: where, Engine: e, close: []func() error{c.Close, e.Close}}, nil
}

// privileged is our engine in a container of e. The builder closes e.
func (o Options) privileged(ctx context.Context, e *docker.Engine) (*Builder, error) {
	c, err := e.Privileged(ctx, o.Privileged)
	if err != nil {
		return nil, err
	}
	b := &Builder{Client: c, Kind: Privileged, Where: fmt.Sprintf("a privileged container of docker at %s", e.Address())}
	b.close = []func() error{c.Close}
	if o.Remove {
		b.close = append(b.close, func() error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
			defer cancel()
			return e.RemovePrivileged(ctx, o.Privileged)
		})
	}
	b.close = append(b.close, e.Close)
	return b, nil
}

// container is a buildkitd in a container of e. The builder closes e.
func (o Options) container(ctx context.Context, e *docker.Engine, n Node) (*Builder, error) {
	c, err := e.Container(ctx, n.container)
	if err != nil {
		return nil, err
	}
	where := fmt.Sprintf("%s of docker at %s", n, e.Address())
	return &Builder{Client: c, Kind: Container, Where: where, close: []func() error{c.Close, e.Close}}, nil
}
