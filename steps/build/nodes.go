package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// node is a builder and what it builds of the image.
type node struct {
	*builder.Builder
	index     int
	several   bool // there are others
	platforms []ocispecs.Platform
}

// label makes the digest of one of n's steps differ from those of other nodes.
func (n *node) label(d digest.Digest) digest.Digest {
	if !n.several {
		return d
	}
	return digest.FromString(fmt.Sprint(n.index, d))
}

// nodeError is what went wrong on one of several builders.
type nodeError struct {
	node  *node
	cause error
}

// Error implements error.
func (e *nodeError) Error() string { return "builder " + e.node.Where + ": " + e.cause.Error() }

// Unwrap returns the cause.
func (e *nodeError) Unwrap() error { return e.cause }

// named is err with n's name, where there are several.
func (n *node) named(err error) error {
	if err == nil || !n.several {
		return err
	}
	return &nodeError{n, err}
}

// open opens the builders that p needs. On error none stays open.
func (s *Step) open(ctx context.Context, job *step.Job, p *plan) (nodes []*node, err error) {
	assigned, order, err := assign(p.nodes, p.platforms)
	if err != nil {
		return nil, err
	}
	if s.inputs.Call != "build" {
		assigned = assigned[:1] // nothing is built: one can tell as much as all
	}
	several := len(assigned) > 1
	if several && p.outputs.files() {
		return nil, fault.Usage(errors.New("input outputs: type=local and type=tar take the files of one builder, and there are several"), "build for one platform, or on one builder")
	}
	if several {
		if err := sharedCaches(p.cacheTo, job.Log); err != nil {
			return nil, err
		}
	}
	p.platforms = order
	options, err := s.builderOptions(job, p)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(nodes))
			nodes = nil
		}
	}()
	for i, a := range assigned {
		opened, err := builder.Open(ctx, a.node, options)
		if err != nil {
			return nodes, err
		}
		if opened.Rootless && p.limitsSteps() {
			job.Log.Warn("memory, cpu and cgroup-parent limits have no effect: a rootless builder has no control groups")
		}
		if unheeded := s.inputs.unheeded(opened.Kind, a.node.Kind != builder.Auto); len(unheeded) > 0 {
			job.Log.Warn("some inputs have no effect: the builder has settings of its own", "inputs", strings.Join(unheeded, ", "), "builder", opened.Where)
		}
		nodes = append(nodes, &node{Builder: opened, index: i, several: several, platforms: a.platforms})
	}
	return nodes, nil
}

// limitsSteps tells whether an input asks for what needs control groups.
func (p *plan) limitsSteps() bool {
	return slices.ContainsFunc([]string{"memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "cgroup-parent"}, func(attr string) bool {
		return p.attrs[attr] != ""
	})
}

// sharedCaches looks at the caches that several builders would write to.
func sharedCaches(all []client.CacheOptionsEntry, log *slog.Logger) error {
	for _, c := range all {
		switch c.Type {
		case "inline": // in the image of each
		case "local":
			return fault.Usage(errors.New("input cache-to: several builders cannot write to one directory at a time"), "use type=registry, or a job for each platform with a cache of its own, and merge")
		default:
			log.Warn("cache-to: all builders write to the same place, and what the last one writes stays; a job for each platform, and merge, can have a cache each", "type", c.Type)
		}
	}
	return nil
}

// files tells whether an output is made of the files of one builder.
func (o *outputs) files() bool {
	return slices.ContainsFunc(o.all, func(out output) bool { return out.kind == "local" || out.kind == "tar" })
}

// closeAll closes the builders of nodes.
func closeAll(nodes []*node) error {
	var all []error
	for _, n := range nodes {
		all = append(all, n.Close())
	}
	return errors.Join(all...)
}
