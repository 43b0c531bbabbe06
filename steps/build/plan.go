package build

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// plan is what the inputs come to: checked, and in BuildKit's terms. Making it
// starts nothing and talks to no network.
type plan struct {
	context    buildContext
	contexts   []namedContext
	key        string // names the context between builds
	dockerfile dockerfile
	facts      facts // of what is built
	date       time.Time
	platforms  []ocispecs.Platform // in the order of the index; none: the builder's own
	nodes      []builder.Node
	args       map[string]string
	pinned     bool // no base image by its tag alone

	attrs        map[string]string // for the Dockerfile frontend
	mounts       map[string]fsutil.FS
	stores       map[string]content.Store
	addresses    []*address
	cacheFrom    []client.CacheOptionsEntry
	cacheTo      []client.CacheOptionsEntry
	secrets      map[string][]byte
	ssh          session.Attachable // nil for none
	entitlements []string
	annotations  []annotation
	outputs      *outputs
	attestations attestations
	mirrors      map[string][]string
	stateLimit   int64 // bytes, 0 for the engine's own
}

// newPlan checks in. Every error is a usage error.
func newPlan(in *Inputs, s surroundings) (*plan, error) {
	p := &plan{
		pinned: in.RequirePinnedBase,
		attrs:  map[string]string{}, mounts: map[string]fsutil.FS{}, stores: map[string]content.Store{},
	}
	for _, read := range []func(*Inputs, surroundings) error{
		p.readBuilder, p.readSources, p.readSecrets, p.addCaches, p.readArguments, p.readLabels, p.readFrontend, p.readResults,
	} {
		if err := read(in, s); err != nil {
			return nil, err
		}
	}
	for _, note := range ignoredVariables(s.getenv) {
		s.warn(note)
	}
	return p, nil
}

func (p *plan) readBuilder(in *Inputs, s surroundings) (err error) {
	if err := auth.CheckLogin(in.Username, in.Password, "IMAGEWRIGHT_BUILD_PASSWORD"); err != nil {
		return err
	}
	if p.stateLimit, err = size("state-max-size", in.StateMaxSize); err != nil {
		return err
	}
	if p.mirrors, err = readMirrors(in.Mirrors); err != nil {
		return err
	}
	if p.platforms, err = readPlatforms(in.Platforms); err != nil {
		return err
	}
	p.nodes, err = builder.Parse(in.Builder.Builder)
	return err
}

// readSources finds the context, the Dockerfile and the named contexts.
func (p *plan) readSources(in *Inputs, s surroundings) (err error) {
	if p.context, err = readContext(in.Context, s); err != nil {
		return err
	}
	if p.dockerfile, err = locateDockerfile(in.File, in.Target, p.context, s); err != nil {
		return err
	}
	if p.mounts, err = p.context.mounts(p.dockerfile, s); err != nil {
		return err
	}
	if p.contexts, err = namedContexts(in.BuildContexts, s); err != nil {
		return err
	}
	parts, err := partsOf(p.contexts, s)
	if err != nil {
		return err
	}
	p.facts = p.context.facts(s.facts)
	sum := sha256.Sum256([]byte(cmp.Or(p.context.Dir, p.context.shown(s)))) // absolute: checkouts differ
	p.key = "imagewright:" + hex.EncodeToString(sum[:16])
	p.addresses = parts.Addresses
	if p.context.Address != nil {
		p.addresses = append(p.addresses, p.context.Address)
	}
	maps.Copy(p.mounts, parts.Mounts)
	maps.Copy(p.stores, parts.Stores)
	maps.Copy(p.attrs, parts.Attrs)
	maps.Copy(p.attrs, p.context.attrs(p.dockerfile))
	return nil
}

func (p *plan) readSecrets(in *Inputs, s surroundings) (err error) {
	mounts, from, addresses := in.Mounts, secretSources{getenv: s.getenv, abs: s.abs}, p.addresses
	if s.fork {
		from.follow = s.follow
		var warning string
		if mounts, warning = in.forFork(); warning != "" {
			s.warn(warning)
		}
		if !in.AllowForkSecrets && slices.ContainsFunc(addresses, (*address).lends) {
			s.warn("the run is for a fork: its build gets no login for the addresses of contexts, because any step could use that too (allow-fork-secrets hands it over)")
			addresses = nil
		}
	}
	if p.secrets, err = secretValues(mounts, from); err != nil {
		return err
	}
	maps.Copy(p.secrets, gitSecrets(addresses, mounts.GitHubToken, s.facts, p.secrets))
	p.ssh, err = sshForward(withGitSSH(mounts.SSH, addresses), from)
	return err
}

// readArguments reads the build arguments, and the image's date, which may be
// one of them.
func (p *plan) readArguments(in *Inputs, s surroundings) (err error) {
	if p.args, err = fileArgs(in.BuildArgsFile, s); err != nil {
		return err
	}
	given, err := pairs("build-args", in.BuildArgs, s.getenv)
	if err != nil {
		return err
	}
	maps.Copy(p.args, given)
	if err := p.noSecretIn("build-args", p.args); err != nil {
		return err
	}
	if takeInlineCache(p.args) {
		p.cacheTo = append(p.cacheTo, client.CacheOptionsEntry{Type: "inline"})
	}
	if p.date, err = p.facts.imageDate(in.SourceDateEpoch, p.args, s.getenv); err != nil {
		return err
	}
	// Only for those who read it: BuildKit puts the argument into the cache key of
	// every WORKDIR, and each commit would build everything below it again. The
	// image gets its date from the exporter.
	// https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/dockerfile2llb/convert.go#L1550
	if _, given := p.args[epochArg]; given || p.dockerfile.declares(epochArg) {
		p.args[epochArg] = strconv.FormatInt(p.date.Unix(), 10)
	}
	for name, value := range p.args {
		p.attrs["build-arg:"+name] = value
	}
	return nil
}

func (p *plan) readLabels(in *Inputs, s surroundings) error {
	labels, err := pairs("labels", in.Labels, nil)
	if err != nil {
		return err
	}
	if err := p.noSecretIn("labels", labels); err != nil {
		return err
	}
	all := p.facts.labels(p.date)
	maps.Copy(all, labels) // what the user says wins
	for name, value := range all {
		p.attrs["label:"+name] = value
	}
	if p.annotations, err = readAnnotations(in.Annotations); err != nil {
		return err
	}
	values := map[string]string{}
	for _, a := range p.annotations {
		values[a.Name] = a.Value
	}
	return p.noSecretIn("annotations", values)
}

func (p *plan) readFrontend(in *Inputs, s surroundings) (err error) {
	attrs, err := in.How.attrs(p.dockerfile.Stages)
	if err != nil {
		return err
	}
	maps.Copy(p.attrs, attrs)
	if in.Target != "" {
		p.attrs["target"] = in.Target
	}
	p.entitlements, err = in.entitlements()
	return err
}

func (p *plan) readResults(in *Inputs, s surroundings) (err error) {
	if p.outputs, err = parseOutputs(in.Results, max(1, len(p.platforms)), s); err != nil {
		return err
	}
	for _, note := range p.outputs.warnings() {
		s.warn(note)
	}
	p.attestations, err = parseAttestations(in.Results, s.runURL)
	maps.Copy(p.attrs, p.attestations.attrs)
	if p.attestations.sbom {
		s.warn("input sbom: the record says that a list of packages is wanted; no step makes one yet, but sbom=generator=IMAGE does")
	}
	return err
}

// localCaches are the directories that caches are written to.
func (p *plan) localCaches() []string {
	var all []string
	for _, c := range p.cacheTo {
		if dir := c.Attrs["dest"]; c.Type == "local" && dir != "" {
			all = append(all, dir)
		}
	}
	return all
}

// bases are the images that d, the plan's Dockerfile, needs for wanted.
func (p *plan) bases(d dockerfile, wanted []ocispecs.Platform, on ocispecs.Platform) ([]baseImage, error) {
	if len(wanted) == 0 {
		wanted = []ocispecs.Platform{on}
	}
	needed, err := d.bases(baseQuery{
		Target: p.attrs["target"], Args: p.args, Contexts: p.contexts, Builder: on, Wanted: wanted,
	})
	if own, ok := d.ownFrontend(p.args, on); ok {
		needed = append([]baseImage{own}, needed...)
	}
	if err == nil && p.pinned {
		err = refuseFloating(d, needed)
	}
	return needed, err
}

// noSecretIn refuses a secret's value where everybody who has the image reads it.
func (p *plan) noSecretIn(input string, values map[string]string) error {
	const minBytes = 6 // a shorter one, such as "true", is in a value by chance
	for name, value := range values {
		for id, secret := range p.secrets {
			if text := strings.TrimSpace(string(secret)); len(text) >= minBytes && strings.Contains(value, text) {
				return fault.Usage(fmt.Errorf("input %s: %s holds the value of secret %q, and can be read from the image", input, name, id),
					"use RUN --mount=type=secret,id="+id)
			}
		}
	}
	return nil
}
