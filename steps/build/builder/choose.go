package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/fault"
)

// hostVariable is where buildctl, too, looks for an address.
const hostVariable = "BUILDKIT_HOST"

// choose is auto: see Open for its order.
func (o Options) choose(ctx context.Context) (*Builder, error) {
	if host := o.getenv(hostVariable); host != "" {
		return o.named(ctx, host)
	}
	var tried none
	b, err := o.embedded(ctx)
	if err == nil {
		b.why = "BuildKit can run here"
		return b, nil
	}
	// What only the user can put right is no reason to build elsewhere.
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if ctx.Err() != nil || full || errors.Is(err, buildkit.ErrStateLocked) || fault.Code(err) == fault.ExitUsage {
		return nil, err
	}
	tried.add(string(Embedded), err)
	b, err = o.chooseOnEngine(ctx, &tried)
	if err != nil {
		return nil, err
	}
	if b != nil {
		b.why = tried.reason()
		return b, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	tried.add(hostVariable, fault.Failed(errors.New("it is not set"), "set it, or builder, to the address of a BuildKit, such as tcp://buildkitd:1234 of a service moby/buildkit with --addr tcp://0.0.0.0:1234"))
	return nil, &tried
}

// named is the builder of BUILDKIT_HOST. It is what the user wants: when it
// cannot be reached, that is an error, and nothing else is tried.
func (o Options) named(ctx context.Context, host string) (*Builder, error) {
	node, err := parseAddress(host)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("%s: %w", hostVariable, err), fault.Hint(err))
	}
	if node.Kind == Auto {
		return nil, fault.Usage(fmt.Errorf("%s: auto is no address", hostVariable), "unset it")
	}
	b, err := o.open(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", hostVariable, err)
	}
	b.why = hostVariable + " says so"
	return b, nil
}

// chooseOnEngine opens the best builder that a Docker Engine has, or none; why
// not is added to tried.
func (o Options) chooseOnEngine(ctx context.Context, tried *none) (*Builder, error) {
	engine, err := o.connect(ctx)
	if err != nil {
		tried.add(string(Docker), err)
		return nil, nil
	}
	candidates := []struct {
		kind Kind
		open func(context.Context, *docker.Engine) (*Builder, error)
	}{{Docker, o.engineItself}, {Privileged, o.privileged}}
	if engine.Store() == docker.Classic {
		candidates[0], candidates[1] = candidates[1], candidates[0]
	}
	for _, c := range candidates {
		b, err := c.open(ctx, engine)
		if err == nil {
			return b, nil
		}
		tried.add(string(c.kind), err)
	}
	return nil, engine.Close()
}

func (o Options) getenv(name string) string {
	value := ""
	for _, entry := range o.Environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v // the last one counts, as for a real process
		}
	}
	return value
}
