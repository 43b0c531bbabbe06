package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/buildkit/remote"
	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/registry/auth"
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

// target is how an image comes from a builder into the layout.
type target struct {
	export client.ExportEntry
	// fetch names what export made, in the layout.
	fetch func(ctx context.Context, response map[string]string) (v1.Descriptor, error)
	// clean takes away what was made for the way; nil for nothing.
	clean func(context.Context) error
	// normal makes of that what our own engine would have made; nil where it did.
	normal func(ctx context.Context, made v1.Descriptor, bases []baseImage) (v1.Descriptor, error)
}

// target returns how n's image comes into b's layout.
func (n *node) target(b *building) target {
	t := target{
		export: layoutExport(b.store, b.plan),
		fetch:  func(_ context.Context, response map[string]string) (v1.Descriptor, error) { return exported(response) },
	}
	if n.Dates {
		return t
	}
	normal := image.Normalization{Date: b.plan.date, Memory: b.memory, Pack: n.Classic()}
	t.normal = func(ctx context.Context, made v1.Descriptor, bases []baseImage) (v1.Descriptor, error) {
		normal.Base = foundation(bases)
		if normal.Pack { // the engine's exporter knows none
			normal.Annotations = annotationsOf(b.plan.annotations, exptypes.AnnotationManifest, made.Platform)
		}
		return image.Normalize(ctx, b.layout, made, normal)
	}
	if !n.Classic() {
		t.export = layoutExport(b.incoming, b.plan)
		return t
	}
	// A Docker Engine with the classic image store gives an image away as docker
	// save does.
	saved := n.Engine.NewImage()
	t.export = saved.Export()
	t.fetch = func(ctx context.Context, _ map[string]string) (v1.Descriptor, error) { return b.load(ctx, saved) }
	t.clean = saved.Remove
	return t
}

// load copies what an engine made into the layout.
func (b *building) load(ctx context.Context, made *docker.Image) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	saved, err := made.Save(ctx)
	if err != nil {
		return none, err
	}
	defer saved.Close()
	// An archive says at its end what is in it, and so is read twice. What a killed
	// build leaves in the layout, the next one sweeps.
	f, err := os.CreateTemp(b.layout.Dir(), durable.TempPrefix+"*")
	if err != nil {
		return none, err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, saved)
	if err := errors.Join(err, f.Close()); err != nil {
		return none, fmt.Errorf("save the image that the Docker Engine built: %w", err)
	}
	opened, err := image.Open(ctx, f.Name(), image.Options{})
	if err != nil {
		return none, err
	}
	defer opened.Close()
	images, err := image.Import(ctx, b.layout, opened)
	if err != nil {
		return none, err
	}
	return images[0], nil
}

// foundation tells what an image for a platform was built on, by bases.
func foundation(bases []baseImage) func(v1.Platform) *v1.ConfigFile {
	return func(p v1.Platform) *v1.ConfigFile {
		var final []*v1.ConfigFile
		var of []ocispecs.Platform
		for _, base := range bases {
			if base.Final {
				final, of = append(final, base.Config), append(of, base.Platform)
			}
		}
		if i := fitting(of, ociPlatform(p)); i >= 0 {
			return final[i]
		}
		return nil
	}
}

func ociPlatform(p v1.Platform) ocispecs.Platform {
	return ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion}
}

// exported is the root that an exporter's answer speaks of.
func exported(response map[string]string) (v1.Descriptor, error) {
	raw, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("the builder's answer: %w", err)
	}
	var root v1.Descriptor
	if err := json.Unmarshal(raw, &root); err != nil {
		return v1.Descriptor{}, fmt.Errorf("the builder's answer: %w", err)
	}
	// What the exporter notes beside it (dates, names) is not part of the image.
	return v1.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}, nil
}

// assignment is what one builder is to build.
type assignment struct {
	node      builder.Node
	platforms []ocispecs.Platform
}

// assign gives every platform in wanted to the one of nodes that is for it; wanted is returned, or what nodes are for where it is empty. A node for no
// platform in particular takes them all.
func assign(nodes []builder.Node, wanted []ocispecs.Platform) ([]assignment, []ocispecs.Platform, error) {
	all := make([]assignment, len(nodes))
	for i, n := range nodes {
		all[i].node = n
		if len(nodes) > 1 && len(wanted) == 0 {
			all[i].platforms = n.Platforms
		}
	}
	for _, w := range wanted {
		i := nodeFor(nodes, w)
		if i < 0 {
			return nil, nil, fault.Usage(fmt.Errorf("input platforms: no builder is for %s", platforms.FormatAll(w)), "name it before the address of one of the builders: "+platforms.FormatAll(w)+"=ADDRESS")
		}
		all[i].platforms = append(all[i].platforms, w)
	}
	if len(wanted) > 0 {
		all = slices.DeleteFunc(all, func(a assignment) bool { return len(a.platforms) == 0 })
	}
	order := wanted
	if len(wanted) == 0 {
		for _, a := range all {
			order = append(order, a.platforms...)
		}
	}
	return all, order, nil
}

// nodeFor returns which of nodes p is built on, -1 for none. One for no platform
// in particular is for all.
func nodeFor(nodes []builder.Node, p ocispecs.Platform) int {
	var all []ocispecs.Platform
	var of []int
	for i, n := range nodes {
		if len(n.Platforms) == 0 {
			return i
		}
		for _, own := range n.Platforms {
			all, of = append(all, own), append(of, i)
		}
	}
	if i := fitting(all, p); i >= 0 {
		return of[i]
	}
	return -1
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
			job.Log.Info("another build uses this builder; waiting for it", "holder", holder)
		},
	}
	if in.StateDir != "" {
		o.StateDir = job.Abs(in.StateDir)
	}
	return o
}

// closeAll closes the builders of nodes.
func closeAll(nodes []*node) error {
	var all []error
	for _, n := range nodes {
		all = append(all, n.Close())
	}
	return errors.Join(all...)
}
