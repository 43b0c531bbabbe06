package build

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	policypb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/apicaps"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// What a Dockerfile frontend must know, else it passes over an attribute.
// https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/builder/caps.go
const (
	frontendCaps   = "frontend.caps" // the attribute that asks for them
	contextsCap    = "moby.buildkit.frontend.contexts"
	subrequestsCap = "moby.buildkit.frontend.subrequests"
)

const newerBuilder = "use builder=embedded, or a newer BuildKit"

// capabilities are what a builder must be able to do for an input to count: one
// that is too old for it passes over it, and says nothing.
func (s *solver) capabilities() map[string]apicaps.CapID {
	needed := map[string]apicaps.CapID{}
	for attr, need := range map[string]struct {
		input string
		cap   apicaps.CapID
	}{
		"ulimit":        {"ulimit", pb.CapExecMetaUlimit},
		"shm-size":      {"shm-size", pb.CapExecMetaUlimit}, // has none of its own, and came with it
		"cgroup-parent": {"cgroup-parent", pb.CapExecMetaCgroupParent},
		"memory":        {"memory", pb.CapExecMetaLinuxResources},
		"memswap":       {"memory-swap", pb.CapExecMetaLinuxResources},
		"cpuquota":      {"cpus", pb.CapExecMetaLinuxResources},
		"cpushares":     {"cpu-shares", pb.CapExecMetaLinuxResources},
		"cpusetcpus":    {"cpuset-cpus", pb.CapExecMetaLinuxResources},
	} {
		if s.plan.attrs[attr] != "" {
			needed[need.input] = need.cap
		}
	}
	for _, input := range kinds(s.plan.attestations.attrs) {
		needed[input] = pb.CapAttestations
	}
	for _, e := range s.exports {
		for attr := range e.Attrs {
			if strings.HasPrefix(attr, "annotation") {
				needed["annotations"] = pb.CapAnnotations
			}
		}
	}
	return needed
}

// check returns what of the plan the builder would pass over: a usage error for
// each input, joined.
func (s *solver) check(o gateway.BuildOpts) error {
	var errs []error
	refuse := func(input string) {
		errs = append(errs, fault.Usage(fmt.Errorf("input %s: the BuildKit of %s is too old for it", input, s.where), newerBuilder))
	}
	needed := s.capabilities()
	for _, input := range slices.Sorted(maps.Keys(needed)) {
		if o.LLBCaps.Supports(needed[input]) != nil {
			refuse(input)
		}
	}
	if len(s.plan.contexts) > 0 && o.Caps.Supports(gatewaypb.CapFrontendCaps) != nil { // it would not even look at contextsCap
		refuse("build-contexts")
	}
	if len(s.exports) > 1 && o.LLBCaps.Supports(pb.CapMultipleExporters) != nil {
		// It would make the image alone.
		errs = append(errs, fault.Usage(errors.New("input outputs: the builder makes no files beside an image: its BuildKit is older than 0.13, or Docker older than 26"), "use builder=embedded, or a newer one"))
	}
	return errors.Join(errs...)
}

// policies are those that the builder is held to, as far as it knows any.
func (s *solver) policies(o gateway.BuildOpts, bases []baseImage) []*policypb.Policy {
	policy := sourcePolicy(bases, s.plan.pinned)
	switch {
	case policy == nil:
		return nil
	case o.LLBCaps.Supports(pb.CapSourcePolicy) == nil:
		return []*policypb.Policy{policy}
	case s.plan.pinned:
		s.log.Warn("the builder is too old to refuse images without a digest: require-pinned-base was checked for those that the Dockerfile names", "builder", s.where)
	default:
		s.log.Warn("the builder is too old to be told the digests of base images: where a tag moves during the build, it may take another image than the record says", "builder", s.where)
	}
	return nil
}

// withoutContexts explains err of a frontend that knows no named contexts; nil
// for any other.
func (s *solver) withoutContexts(err error) error {
	if len(s.plan.contexts) == 0 || !unsupported(err, contextsCap) {
		return nil
	}
	if len(s.bases) > 0 && s.bases[0].syntax != "" {
		return fault.Usage(fmt.Errorf("input build-contexts: frontend %s is too old for it", familiar(s.bases[0].Name)), "name a newer one, such as docker/dockerfile:1")
	}
	return fault.Usage(fmt.Errorf("input build-contexts: the BuildKit of %s is too old for it", s.where), newerBuilder+", or put # syntax=docker/dockerfile:1 in the first line of the Dockerfile")
}

// unsupported tells whether err is that of a frontend which does not know name, a
// request or a capability.
func unsupported(err error, name string) bool {
	if err == nil {
		return false
	}
	_, request := errors.AsType[*errdefs.UnsupportedSubrequestError](err)
	_, capability := errors.AsType[*errdefs.UnsupportedFrontendCapError](err)
	// Docker 20.10 hands errors over as text alone.
	text := err.Error()
	return request || capability || strings.HasSuffix(text, "unsupported request "+name) || strings.HasSuffix(text, "unsupported frontend capability "+name)
}

// unheeded are the inputs that a builder of kind takes no heed of, of those that
// are given. With asked, the input builder names that kind.
func (in *Inputs) unheeded(kind builder.Kind, asked bool) []string {
	ours := kind == builder.Embedded || kind == builder.Privileged // with our own engine
	var all []string
	for _, input := range []struct {
		name          string
		given, heeded bool
	}{
		{"mirrors", len(in.Mirrors) > 0, ours},
		{"insecure-registries (for its pulls)", len(in.Insecure) > 0, ours},
		{"ca-bundle (for its pulls and RUN steps)", in.CABundle != "", ours},
		{"state-max-size", in.StateMaxSize != "", ours},
		{"state", cmp.Or(in.State, "shared") != "shared", kind == builder.Embedded},
		{"state-dir", in.StateDir != "", kind == builder.Embedded},
		{"runtime", in.Runtime != "", kind == builder.Embedded},
		// For auto they say how to build if need be.
		{"builder-image", in.BuilderImage != "", kind == builder.Privileged || !asked},
		{"builder-rm", in.BuilderRm, kind == builder.Privileged || !asked},
	} {
		if input.given && !input.heeded {
			all = append(all, input.name)
		}
	}
	return all
}
