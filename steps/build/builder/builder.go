// Package builder finds and opens what a build runs on: the BuildKit inside this
// program, one at an address, or one that a Docker Engine has.
package builder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/buildkit/remote"
	"github.com/imagewright/imagewright/internal/fault"
)

// removeTimeout is for a Docker Engine to remove a container and its volume.
const removeTimeout = time.Minute

// Options are what the builders of all kinds are made with.
type Options struct {
	Embedded   buildkit.Options
	TLS        remote.TLS               // of a builder at a tcp:// address
	Privileged docker.PrivilegedOptions // of a docker-privileged builder
	Remove     bool                     // remove a docker-privileged builder at Close
	Needs      docker.Needs             // of the build: a Docker Engine that cannot do them is none to build on

	Environ []string     // NAME=value: BUILDKIT_HOST, the engine that docker means, PATH for ssh and kubectl
	Log     *slog.Logger // gets the choice and its reason; never nil
}

// Builder is a BuildKit that has answered.
type Builder struct {
	Client *client.Client
	Kind   Kind   // never Auto
	Where  string // for people: embedded (root), tcp://HOST:PORT

	// Dates says that layers come without times and configs with the build's:
	// the engine is ours.
	Dates bool

	// Rootless says that there are no control groups, and so no limits of steps.
	Rootless bool

	// Engine is the Docker Engine whose own BuildKit this is, or else nil.
	Engine *docker.Engine

	// Platforms are what it can run, its own first.
	Platforms []ocispecs.Platform

	why   string // it was chosen
	tls   bool   // at an address that TLS is spoken to, if it is wanted
	close []func() error
}

// Classic says that images stay in a Docker Engine's classic store: no layout
// can be exported, and the image is fetched through Engine.
func (b *Builder) Classic() bool { return b.Engine != nil && b.Engine.Store() == docker.Classic }

// Open opens the builder that n names, for auto the first that works here:
//
//  1. the address in BUILDKIT_HOST, and no other if it is set;
//  2. embedded, as root, through sudo, or in a user namespace;
//  3. a Docker Engine's own BuildKit, when the engine has the containerd image
//     store and can do what the build needs;
//  4. a privileged container of that engine, when this program runs in one of
//     its containers or an image for it is given;
//  5. the own BuildKit of an engine with the classic store.
//
// It logs the choice and its reason in one line. The caller must Close it.
// Errors: those of the kind's own package; a usage error with a table of all
// that was tried when auto finds none.
func Open(ctx context.Context, n Node, o Options) (*Builder, error) {
	b, err := o.open(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := b.ask(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	o.Log.Info("building on "+b.Where, "because", b.why)
	if o.TLS.Enabled() && !b.tls && len(n.Platforms) == 0 {
		o.Log.Warn("builder-cacert, builder-cert, builder-key and builder-servername count for tcp:// builders only")
	}
	return b, nil
}

func (o Options) open(ctx context.Context, n Node) (b *Builder, err error) {
	switch n.Kind {
	case Auto:
		return o.choose(ctx)
	case Embedded:
		b, err = o.embedded(ctx)
	case Remote:
		b, err = o.remote(ctx, n.Address)
	default:
		b, err = o.onEngine(ctx, n)
	}
	if err == nil {
		b.why = "input builder says so"
	}
	return b, err
}

// ask asks what the builder can run.
func (b *Builder) ask(ctx context.Context) error {
	workers, err := b.Client.ListWorkers(ctx)
	if err == nil && len(workers) == 0 {
		err = errors.New("it has no worker")
	}
	if err != nil {
		return fmt.Errorf("builder %s: %w", b.Where, err)
	}
	b.Platforms = workers[0].Platforms // BuildKit builds on its first worker
	return nil
}

// Close ends the connection, and what was started for it. A second call does
// nothing.
func (b *Builder) Close() error {
	var errs []error
	for _, end := range b.close {
		errs = append(errs, end())
	}
	b.close = nil
	return errors.Join(errs...)
}

// Gone is a builder that went away in the middle of a build.
type Gone struct {
	Where string
	Cause error // as gRPC has it
}

// Error implements error.
func (e *Gone) Error() string {
	return fmt.Sprintf("builder %s: it is gone in the middle of the build: %v", e.Where, e.Cause)
}

// Unwrap returns the cause.
func (e *Gone) Unwrap() error { return e.Cause }

// ExitCode is that of a failure.
func (e *Gone) ExitCode() int { return fault.ExitFailed }

// Hint says where to look.
func (e *Gone) Hint() string { return "its own log may say why" }

// Lost returns cause, of a build that failed, as a [*Gone] if that is what it
// was. Otherwise it returns cause.
func (b *Builder) Lost(ctx context.Context, cause error) error {
	// A registry that is not there may look the same: ask once more.
	if cause == nil || grpcerrors.Code(cause) != codes.Unavailable {
		return cause
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, err := b.Client.ListWorkers(ctx); err == nil {
		return cause
	}
	return &Gone{b.Where, cause}
}
