package build

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/imagewright/imagewright/internal/fault"
)

const dockerfileFrontend = "dockerfile.v0"

// solver is one builder at work on a plan.
type solver struct {
	client    *client.Client
	where     string // it is, for people
	log       *slog.Logger
	plan      *plan
	platforms []ocispecs.Platform // what this builder makes of the image
	session   []session.Attachable
	exports   []client.ExportEntry
	known     *digests                                                       // of base images, as all builders take them
	ask       func(context.Context, gateway.Client, map[string]string) error // in place of a build; nil to build

	bases  []baseImage // resolved, once solve is done
	failed error       // why frontend gave up; the builder hands it back as text
}

// solve builds and returns the exporters' answer; statuses gets the build's
// progress and is closed at the end.
func (s *solver) solve(ctx context.Context, statuses chan *client.SolveStatus) (map[string]string, error) {
	options, err := s.options()
	if err != nil {
		close(statuses)
		return nil, err
	}
	response, err := s.client.Build(ctx, options, "imagewright", s.frontend, statuses)
	if err != nil {
		return nil, cmp.Or(s.failed, err)
	}
	return response.ExporterResponse, nil
}

func (s *solver) options() (client.SolveOpt, error) {
	p := s.plan
	attrs, attachables := maps.Clone(p.attrs), slices.Clone(s.session)
	if names := platformNames(s.platforms); len(names) > 0 {
		attrs["platform"] = strings.Join(names, ",")
	}
	if len(p.contexts) > 0 {
		attrs[frontendCaps] = contextsCap + "+forward" // to the frontend that the Dockerfile names
	}
	uploads, err := p.context.attach(attrs)
	if err != nil {
		return client.SolveOpt{}, err
	}
	if uploads != nil {
		attachables = append(attachables, uploads)
	}
	return client.SolveOpt{
		FrontendAttrs:       attrs,
		LocalMounts:         p.mounts,
		OCIStores:           p.stores,
		SharedKey:           p.key,
		Session:             attachables,
		AllowedEntitlements: p.entitlements,
		CacheImports:        p.cacheFrom,
		CacheExports:        p.cacheTo,
		Exports:             s.exports,
		// Not in the engine's history: that keeps what steps print, and with it a
		// secret that one of them printed.
		Internal: true,
	}, nil
}

// frontend is what the builder runs for us: it resolves the base images, then
// has BuildKit's own Dockerfile frontend build with exactly those.
func (s *solver) frontend(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	if s.ask != nil {
		s.failed = s.ask(ctx, c, c.BuildOpts().Opts)
		return gateway.NewResult(), s.failed
	}
	p := s.plan
	attrs := c.BuildOpts().Opts
	if s.failed = s.check(c.BuildOpts()); s.failed != nil {
		return nil, s.failed
	}
	d, err := p.readRemote(ctx, c, attrs)
	var bases []baseImage
	if err == nil {
		bases, err = p.bases(d, s.platforms, builderPlatform(c))
	}
	if err == nil {
		err = resolve(ctx, c, p.attrs["image-resolve-mode"], bases, s.known)
	}
	if err != nil {
		s.failed = err
		return nil, err
	}
	s.bases = bases
	if len(bases) > 0 && bases[0].syntax != "" {
		// The policy does not reach the image of a frontend.
		attrs["build-arg:"+syntaxArg] = bases[0].byDigestSyntax()
	}
	result, err := c.Solve(ctx, gateway.SolveRequest{
		Frontend: dockerfileFrontend, FrontendOpt: attrs, SourcePolicies: s.policies(c.BuildOpts(), bases),
	})
	if s.failed = s.withoutContexts(err); s.failed != nil {
		return nil, s.failed
	}
	return result, err
}

// readRemote returns the Dockerfile, which the builder reads for us where it
// alone sees it, and adds to attrs what depends on it.
func (p *plan) readRemote(ctx context.Context, c gateway.Client, attrs map[string]string) (dockerfile, error) {
	d := p.dockerfile
	if !d.Remote {
		return d, nil
	}
	frontend, err := dockerui.NewClient(c)
	if err != nil {
		return d, err
	}
	source, err := frontend.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return d, err
	}
	if err := d.read(source.Data, attrs["target"]); err != nil {
		return d, err
	}
	if d.declares(epochArg) {
		attrs["build-arg:"+epochArg] = strconv.FormatInt(p.date.Unix(), 10)
	}
	return d, nil
}

// builderPlatform is what BuildKit calls BUILDPLATFORM.
func builderPlatform(c gateway.Client) ocispecs.Platform {
	for _, w := range c.BuildOpts().Workers {
		if len(w.Platforms) > 0 {
			return w.Platforms[0]
		}
	}
	return platforms.Normalize(platforms.DefaultSpec())
}

// layoutExport has the image of p written to store, blob by blob: what is there
// is not sent again.
func layoutExport(store content.Store, p *plan) client.ExportEntry {
	attrs := map[string]string{
		"tar":               "false",
		"oci-mediatypes":    "true",
		"source-date-epoch": strconv.FormatInt(p.date.Unix(), 10),
	}
	for _, a := range p.annotations {
		if a.Level == exptypes.AnnotationManifest { // the others stand outside the image
			name, value := a.attr()
			attrs[name] = value
		}
	}
	return client.ExportEntry{Type: client.ExporterOCI, Attrs: attrs, OutputStore: store}
}

// annotationsOf returns those of a level; of manifests those for all and for
// platform itself.
func annotationsOf(all []annotation, level string, platform *v1.Platform) map[string]string {
	var of map[string]string
	for _, a := range all {
		if a.Level != level || a.Platform != nil && !platforms.OnlyStrict(*a.Platform).Match(ociPlatform(*platform)) {
			continue
		}
		if of == nil {
			of = map[string]string{}
		}
		of[a.Name] = a.Value
	}
	return of
}

// quietLogs sends what BuildKit's client and its stores log to a logger of the
// process to log, at debug level.
func quietLogs(log *slog.Logger) { logrus.SetOutput(debugLog{log}) }

// debugLog takes lines of another logger.
type debugLog struct{ to *slog.Logger }

// Write implements io.Writer.
func (d debugLog) Write(line []byte) (int, error) {
	d.to.Debug(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// layoutFailure is an image that was built and could not be written.
type layoutFailure struct {
	cause error
	dir   string
}

// Error implements error.
func (e *layoutFailure) Error() string {
	return fmt.Sprintf("write the image to %s: %v", e.dir, e.cause)
}

// Unwrap returns the cause.
func (e *layoutFailure) Unwrap() error { return e.cause }

// ExitCode is that of a failure.
func (e *layoutFailure) ExitCode() int { return fault.ExitFailed }

// Hint says what helps.
func (e *layoutFailure) Hint() string {
	if errors.Is(e.cause, syscall.ENOSPC) || errors.Is(e.cause, syscall.EDQUOT) {
		return "free some space there, or set dir to a larger disk"
	}
	return ""
}

// explainUnless explains err, unless the build was told to stop: then that is
// the reason.
func explainUnless(ctx context.Context, err error, p *plan, w *watcher) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fault.Code(err) != fault.ExitFailed { // our own: it explains itself
		return err
	}
	return explain(err, p.dockerfile, w)
}

// engineLoss is err of closing the engine after a build that failed: what the
// engine died of is worth a line then.
func engineLoss(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("and then: %w", err)
}
