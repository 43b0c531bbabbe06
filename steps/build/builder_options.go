package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/buildkit/remote"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// builderOptions are the inputs that builders are opened with.
func (s *Step) builderOptions(job *step.Job, p *plan) (builder.Options, error) {
	in := &s.inputs
	authorities, err := auth.CAs(job.CABundle())
	if err != nil {
		return builder.Options{}, fault.Usage(fmt.Errorf("input ca-bundle: %w", err), "")
	}
	o := builder.Options{
		Embedded:   s.engineOptions(job, p.mirrors, p.stateLimit, p.entitlements),
		TLS:        remote.TLS{ServerName: in.ServerName, System: authorities},
		Privileged: s.privilegedOptions(job),
		Remove:     in.BuilderRm,
		Needs:      docker.Needs{Platforms: platformNames(p.platforms), CacheFrom: cacheTypes(p.cacheFrom), CacheTo: cacheTypes(p.cacheTo), Attest: kinds(p.attestations.attrs)},
		Environ:    job.Environ,
		Log:        job.Log,
	}
	if in.Call == "build" {
		o.Embedded.PlainLayers = plainLayers(job)
	}
	for _, file := range []struct {
		path string
		to   *string
	}{{in.CACert, &o.TLS.CACert}, {in.Cert, &o.TLS.Cert}, {in.Key, &o.TLS.Key}} {
		if file.path != "" {
			*file.to = job.Abs(file.path)
		}
	}
	return o, nil
}

func cacheTypes(all []client.CacheOptionsEntry) []string {
	var types []string
	for _, c := range all {
		types = append(types, c.Type)
	}
	return types
}

// privilegedOptions are the inputs that a builder in a container is served with.
func (s *Step) privilegedOptions(job *step.Job) docker.PrivilegedOptions {
	in := &s.inputs
	o := docker.PrivilegedOptions{Image: in.BuilderImage, CABundle: job.CABundle()}
	for flag, values := range map[string][]string{"--insecure-registries": in.Insecure, "--mirrors": in.Mirrors} { // not allow: it has all rights to give
		for _, value := range values {
			o.Arguments = append(o.Arguments, flag+"="+value)
		}
	}
	if in.StateMaxSize != "" {
		o.Arguments = append(o.Arguments, "--state-max-size="+in.StateMaxSize)
	}
	if !in.CAInSteps {
		o.Arguments = append(o.Arguments, "--no-ca-in-steps")
	}
	slices.Sort(o.Arguments) // they are part of the builder's name
	for _, variable := range withProxies(job.Environ, in.Common) {
		name, value, _ := strings.Cut(variable, "=")
		proxy := slices.Contains([]string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}, name)
		// Not one with a password: whoever may use the engine can read it there.
		if proxy && value != "" && !strings.Contains(value, "@") {
			o.Environ = append(o.Environ, variable)
		}
	}
	return o
}

// kinds are the names of the attestations that attrs ask for, which are those of
// the inputs too.
func kinds(attrs map[string]string) []string {
	var all []string
	for _, attr := range slices.Sorted(maps.Keys(attrs)) {
		all = append(all, strings.TrimPrefix(attr, "attest:"))
	}
	return all
}

// engineOptions are the inputs that the engine inside this program is started
// with, for builds that need those entitlements.
func (s *Step) engineOptions(job *step.Job, mirrors map[string][]string, maxSize int64, needs []string) buildkit.Options {
	in := &s.inputs
	o := buildkit.Options{
		Private:       in.State == "private",
		RuntimeBinary: in.Runtime,
		PlainHTTP:     in.Insecure,
		Mirrors:       mirrors,
		CABundle:      job.CABundle(),
		CAInSteps:     in.CAInSteps,
		MaxSize:       maxSize,
		Needs:         append([]string{}, needs...), // nil would be all there are
		Environ:       withProxies(job.Environ, in.Common),
		Log:           job.Log,
		Stderr:        job.Untrusted(),
		Wait: func(holder string) {
			job.Log.Info("another build uses this builder; waiting for it (state=private would not)", "holder", holder)
		},
	}
	if in.StateDir != "" {
		o.StateDir = job.Abs(in.StateDir)
	}
	return o
}
