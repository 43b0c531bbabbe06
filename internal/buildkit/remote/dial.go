package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
)

const (
	// patience is how long a builder may take to answer: a service of a job is
	// started beside it, and not before it.
	patience = 10 * time.Second

	pause = 100 * time.Millisecond // between two questions
)

// Options of [Dial].
type Options struct {
	TLS TLS // of tcp:// addresses

	// Environ is the environment that ssh and kubectl are found and run with,
	// NAME=value. The inputs of steps in it are not handed on.
	Environ []string

	// Patience is how long to wait for an answer; default: 10 s.
	Patience time.Duration

	// Log gets a warning where anybody on the way can read and change the build.
	// nil: nowhere.
	Log *slog.Logger
}

// Dial connects to the BuildKit at a and returns when it has answered. The
// caller closes the client, which also ends the ssh or kubectl below it.
//
// Proxies of the environment do not count: a builder is reached directly.
// Errors: [*Unreachable]; usage errors about the files of o.TLS.
func Dial(ctx context.Context, a Address, o Options) (*client.Client, error) {
	seen := &trouble{}
	dial, err := a.dialer(o.Environ, seen)
	if err != nil {
		return nil, &Unreachable{a, err}
	}
	options := []client.ClientOpt{
		client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		client.WithGRPCDialOption(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: pause, Multiplier: 1.6, MaxDelay: time.Second},
			MinConnectTimeout: patience,
		})),
	}
	target := "unix:///builder" // the dialer knows better
	if a.TLS() {
		target = "tcp://" + net.JoinHostPort(a.host, a.port)
		creds, err := o.TLS.credentials()
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithGRPCDialOption(grpc.WithTransportCredentials(noting{creds, seen})))
		if name := o.TLS.ServerName; name != "" {
			options = append(options, client.WithGRPCDialOption(grpc.WithAuthority(name)))
		}
		if !o.TLS.Enabled() && !a.loopback() && o.Log != nil {
			o.Log.Warn("the connection to the builder is not encrypted, and anybody who reaches it may build there; builder-cacert, builder-cert and builder-key make it TLS", "builder", a.String())
		}
	}
	c, err := client.New(ctx, target, options...)
	if err != nil {
		return nil, &Unreachable{a, err}
	}
	if err := wait(ctx, c, seen, cmp.Or(o.Patience, patience)); err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Unreachable{a, err}
	}
	return c, nil
}

// wait asks the BuildKit behind c who it is until it answers. What will be no
// better in a second is not asked again.
func wait(ctx context.Context, c *client.Client, seen *trouble, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := c.ControlClient().Info(ctx, &control.InfoRequest{})
		switch code := grpcerrors.Code(err); {
		case err == nil:
			return nil
		case seen.lasting() != nil:
			return seen.lasting()
		case code == codes.Unimplemented:
			return errors.New("it answers, but is no BuildKit, or one older than 0.11")
		case code != codes.Unavailable && ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			if last := seen.last(); last != nil {
				return fmt.Errorf("no answer in %v: %w", patience, last)
			}
			return fmt.Errorf("no answer in %v: %w", patience, context.DeadlineExceeded)
		case <-time.After(pause):
		}
	}
}

// dialer returns what makes one connection.
func (a Address) dialer(environ []string, seen *trouble) (func(context.Context) (net.Conn, error), error) {
	direct := func(network, address string) func(context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) {
			seen.begin()
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			seen.note(err)
			return conn, err
		}
	}
	switch a.scheme {
	case "tcp":
		return direct("tcp", net.JoinHostPort(a.host, a.port)), nil
	case "unix":
		return direct("unix", a.socket), nil
	}
	command, err := a.command(environ)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (net.Conn, error) {
		seen.begin()
		conn, err := command.start(seen)
		seen.note(err)
		return conn, err
	}, nil
}
