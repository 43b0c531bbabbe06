package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/auth"
)

// plan is what the inputs come to: checked, and in BuildKit's terms. Making it
// starts nothing and talks to no network.
type plan struct {
	contextDir string
	dockerfile dockerfile
	platform   string            // as recorded: linux/amd64
	date       time.Time         // in the image
	attrs      map[string]string // for the Dockerfile frontend
	mounts     map[string]fsutil.FS
	stores     map[string]content.Store
	cacheFrom  []client.CacheOptionsEntry
	cacheTo    []client.CacheOptionsEntry
	secrets    map[string][]byte
	stateLimit int64 // bytes, 0 for the engine's own

	platforms    []ocispecs.Platform // in the order of the index; none: the builder's own
	args         map[string]string
	entitlements []string
	pinned       bool // no base image by its tag alone
}

// bases are the images that the plan needs for wanted.
func (p *plan) bases(wanted []ocispecs.Platform, builder ocispecs.Platform) ([]baseImage, error) {
	if len(wanted) == 0 {
		wanted = []ocispecs.Platform{builder}
	}
	contexts := map[string]bool{}
	for attr := range p.attrs {
		if name, ok := strings.CutPrefix(attr, "context:"); ok {
			contexts[name] = true
		}
	}
	needed, err := p.dockerfile.bases(baseQuery{
		Target: p.attrs["target"], Args: p.args, Contexts: contexts, Builder: builder, Wanted: wanted,
	})
	if err == nil && p.pinned {
		err = refuseFloating(p.dockerfile, needed)
	}
	return needed, err
}

func platformNames(all []ocispecs.Platform) []string {
	var names []string
	for _, p := range all {
		names = append(names, platforms.FormatAll(p))
	}
	return names
}

// surroundings is what a plan needs to know of the process around it.
type surroundings struct {
	dir       string // the checkout
	workspace string
	fork      bool // the checkout's content is a stranger's
	facts     facts
	getenv    func(string) string
	log       func(message string)
}

func (s surroundings) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.dir, path)
}

// shown is path for people: relative to the checkout where it is in it.
func (s surroundings) shown(path string) string {
	if relative, err := filepath.Rel(s.dir, path); err == nil && filepath.IsLocal(relative) {
		return filepath.ToSlash(relative)
	}
	return path
}

// newPlan checks in. Every error is a usage error.
func newPlan(in *Inputs, s surroundings) (*plan, error) {
	p := &plan{mounts: map[string]fsutil.FS{}, stores: map[string]content.Store{}}
	if err := auth.CheckLogin(in.Username, in.Password, "IMAGEWRIGHT_BUILD_PASSWORD"); err != nil {
		return nil, err
	}
	if err := p.findContext(in.Context, s); err != nil {
		return nil, err
	}
	if err := p.findDockerfile(in, s); err != nil {
		return nil, err
	}
	var err error
	if p.stateLimit, err = size("state-max-size", in.StateMaxSize); err != nil {
		return nil, err
	}
	if p.platform, err = nativePlatform(in.Platforms); err != nil {
		return nil, err
	}
	if p.secrets, err = secretValues(in.Mounts, secretSources{s.getenv, s.abs}); err != nil {
		return nil, err
	}
	args, err := pairs("build-args", in.BuildArgs, s.getenv)
	if err != nil {
		return nil, err
	}
	if err := p.noSecretIn("build-args", args); err != nil {
		return nil, err
	}
	labels, err := pairs("labels", in.Labels, nil)
	if err != nil {
		return nil, err
	}
	if err := p.noSecretIn("labels", labels); err != nil {
		return nil, err
	}
	if p.date, err = s.facts.imageDate(args, s.getenv); err != nil {
		return nil, err
	}
	p.args, p.pinned = args, in.RequirePinnedBase
	p.setAttrs(in, args, labels, s.facts)
	if err := p.addContexts(in, s); err != nil {
		return nil, err
	}
	return p, p.addCaches(in, s)
}

func (p *plan) findContext(context string, s surroundings) error {
	// Not shown: such an address may have a token in it.
	if strings.Contains(context, "://") || strings.HasPrefix(context, "git@") {
		return fault.Usage(errors.New("input context: an address is not accepted; want a directory"), "check the sources out first")
	}
	dir := s.abs(context)
	if err := isDirectory(dir); err != nil {
		return fault.Usage(fmt.Errorf("input context: %w", err), "context is relative to the checkout "+s.dir)
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fault.Usage(fmt.Errorf("input context: %w", err), "")
	}
	p.contextDir = resolved
	return s.stayInside("context", resolved)
}

// stayInside refuses a path outside the checkout in a run for a fork: the
// checkout's own imagewright.yaml, or a symlink in it, could name the runner's
// files.
func (s surroundings) stayInside(input, resolved string) error {
	if !s.fork {
		return nil
	}
	root, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		return fault.Usage(err, "")
	}
	if relative, err := filepath.Rel(root, resolved); err != nil || !filepath.IsLocal(relative) {
		return fault.Usage(fmt.Errorf("input %s: %s is outside the checkout", input, resolved), "runs for forks read the checkout alone")
	}
	return nil
}

func (p *plan) findDockerfile(in *Inputs, s surroundings) error {
	path, err := findDockerfile(in.File, p.contextDir, s.abs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no Dockerfile at %s", s.shown(path))
		}
		return fault.Usage(fmt.Errorf("input file: %w", err), "file is relative to the checkout "+s.dir)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fault.Usage(fmt.Errorf("input file: %w", err), "")
	}
	if err := s.stayInside("file", resolved); err != nil {
		return err
	}
	shown := s.shown(path)
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return fault.Usage(fmt.Errorf("input file: %w", err), "")
	}
	// The engine follows a link in the Dockerfile's directory itself, and
	// .dockerignore files go by the name that was given. Out of that directory it
	// sees nothing.
	if relative, err := filepath.Rel(dir, resolved); err != nil || !filepath.IsLocal(relative) {
		path = resolved
	}
	p.dockerfile, err = readDockerfile(path, shown, in.Target)
	return err
}

// nativePlatform accepts this machine's platform only.
func nativePlatform(wanted []string) (string, error) {
	native := platforms.Normalize(platforms.DefaultSpec())
	shown := platforms.Format(native)
	if len(wanted) > 1 {
		return "", fault.Usage(fmt.Errorf("input platforms: %s: one platform is accepted, %s", strings.Join(wanted, ","), shown), "run one job a platform")
	}
	for _, w := range wanted {
		spec, err := platforms.Parse(w)
		if err != nil {
			return "", fault.Usage(fmt.Errorf("input platforms: %q is not OS/ARCH", w), "this machine is "+shown)
		}
		if !platforms.OnlyStrict(native).Match(platforms.Normalize(spec)) {
			return "", fault.Usage(fmt.Errorf("input platforms: %q is the wrong architecture: this machine builds %s", w, shown), "run the job on a machine of that architecture")
		}
	}
	return shown, nil
}

// size reads a number of bytes such as 20GB; "" is 0.
func size(input, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := units.FromHumanSize(text)
	if err != nil || n <= 0 {
		return 0, fault.Usage(fmt.Errorf("input %s: %q is not accepted; want a size such as 20GB", input, text), "")
	}
	return n, nil
}

// pairs reads NAME=VALUE items. With getenv, a name alone takes its value from
// the environment, and is left out where that has none, as Docker does it.
func pairs(input string, items []string, getenv func(string) string) (map[string]string, error) {
	items, err := joined(items)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input %s: %w", input, err), "a line that begins with a double quote goes on to the next one")
	}
	values := map[string]string{}
	for i, item := range items {
		name, value, ok := strings.Cut(item, "=")
		if name == "" {
			return nil, fault.Usage(fmt.Errorf("input %s, entry %d: it is not NAME=VALUE", input, i+1), "")
		}
		if !ok && getenv != nil {
			if value = getenv(name); value == "" {
				continue
			}
		}
		values[name] = value
	}
	return values, nil
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

func (p *plan) setAttrs(in *Inputs, args, labels map[string]string, own facts) {
	p.attrs = map[string]string{"filename": filepath.Base(p.dockerfile.Path)}
	set := func(key, value string) {
		if value != "" {
			p.attrs[key] = value
		}
	}
	set("target", in.Target)
	if in.NoCache {
		p.attrs["no-cache"] = "" // empty means every stage
	}
	if in.Pull {
		p.attrs["image-resolve-mode"] = "pull"
	}
	if in.Network != "default" {
		set("force-network-mode", in.Network)
	}
	// Only for those who read it: BuildKit puts the argument into the cache key of
	// every WORKDIR, and each commit would build everything below it again. The
	// image gets its date from the exporter.
	// https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/dockerfile2llb/convert.go#L1550
	if _, given := args[epochArg]; given || p.dockerfile.declares(epochArg) {
		args[epochArg] = strconv.FormatInt(p.date.Unix(), 10)
	}
	for name, value := range args {
		p.attrs["build-arg:"+name] = value
	}
	all := own.labels(p.date)
	maps.Copy(all, labels) // what the user says wins
	for name, value := range all {
		p.attrs["label:"+name] = value
	}
}

// sharedKey names the context between builds, so that the engine asks for
// changed files only.
func (p *plan) sharedKey() string {
	sum := sha256.Sum256([]byte(p.contextDir))
	return "imagewright:" + hex.EncodeToString(sum[:16])
}
