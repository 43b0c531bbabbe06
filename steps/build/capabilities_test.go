package build

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// newBuildKit can do all that this module knows of, oldBuildKit nothing of it.
func newBuildKit() gateway.BuildOpts {
	return gateway.BuildOpts{LLBCaps: pb.Caps.CapSet(pb.Caps.All()), Caps: gatewaypb.Caps.CapSet(gatewaypb.Caps.All())}
}

func oldBuildKit() gateway.BuildOpts {
	return gateway.BuildOpts{LLBCaps: pb.Caps.CapSet(nil), Caps: gatewaypb.Caps.CapSet(nil)}
}

func TestInputsThatAnOlderBuildKitWouldPassOverAreRefused(t *testing.T) {
	limits, err := How{
		Memory: "1g", MemorySwap: "2g", CPUs: "1.5", CPUShares: 512, CPUSet: "0-1",
		Ulimit: []string{"nofile=1024"}, ShmSize: "64m", CgroupParent: "builds", Pull: true, Network: "none",
	}.attrs(nil)
	if err != nil {
		t.Fatal(err)
	}
	image := client.ExportEntry{Type: client.ExporterOCI}
	for _, tc := range []struct {
		name string
		s    solver
		want []string // inputs
	}{
		{"nothing special", solver{plan: &plan{attrs: map[string]string{"target": "x", "build-arg:A": "1"}}, exports: []client.ExportEntry{image}}, nil},
		{"limits", solver{plan: &plan{attrs: limits}}, []string{"cgroup-parent", "cpu-shares", "cpus", "cpuset-cpus", "memory", "memory-swap", "shm-size", "ulimit"}},
		{"attestations", solver{plan: &plan{attestations: attestations{attrs: map[string]string{"attest:provenance": "mode=min"}}}}, []string{"provenance"}},
		{"annotations", solver{plan: &plan{}, exports: []client.ExportEntry{{Type: client.ExporterOCI, Attrs: map[string]string{"annotation.a": "b"}}}}, []string{"annotations"}},
		{"contexts", solver{plan: &plan{contexts: []namedContext{{Name: "base"}}}}, []string{"build-contexts"}},
		{"files", solver{plan: &plan{}, exports: []client.ExportEntry{image, {Type: client.ExporterLocal}}}, []string{"outputs"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.s.where = "tcp://b:1"
			if err := tc.s.check(newBuildKit()); err != nil {
				t.Errorf("this module's own BuildKit is refused: %v", err)
			}
			err := tc.s.check(oldBuildKit())
			var got []string
			if err != nil {
				if fault.Code(err) != fault.ExitUsage || !strings.Contains(fault.Hint(err), "builder=embedded") {
					t.Errorf("exit %d, hint %q; want 2 and another way", fault.Code(err), fault.Hint(err))
				}
				for line := range strings.Lines(err.Error()) {
					name, _, _ := strings.Cut(strings.TrimPrefix(line, "input "), ":")
					got = append(got, name)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("inputs that are refused (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestABuilderThatTakesNoPolicyIsWarnedAbout(t *testing.T) {
	floating := []baseImage{{Name: "docker.io/library/alpine:3", Digest: digest.FromString("alpine")}}
	byDigest := []baseImage{{Name: "docker.io/library/alpine@" + digest.FromString("alpine").String()}}
	for _, tc := range []struct {
		name   string
		on     gateway.BuildOpts
		bases  []baseImage
		pinned bool
		sent   int
		warned string
	}{
		{"a tag on a new one", newBuildKit(), floating, false, 1, ""},
		{"a tag on an old one", oldBuildKit(), floating, false, 0, "where a tag moves"},
		{"a digest on an old one", oldBuildKit(), byDigest, false, 0, ""},
		{"only digests wanted, on an old one", oldBuildKit(), byDigest, true, 0, "require-pinned-base"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			s := solver{plan: &plan{pinned: tc.pinned}, log: slog.New(slog.NewTextHandler(&log, nil))}
			if sent := s.policies(tc.on, tc.bases); len(sent) != tc.sent {
				t.Errorf("the builder gets %v, want %d", sent, tc.sent)
			}
			if !strings.Contains(log.String(), tc.warned) || tc.warned == "" && log.Len() > 0 {
				t.Errorf("the log is %q, want %q", &log, tc.warned)
			}
		})
	}
}

func TestAFrontendThatKnowsNoContextsIsUnderstood(t *testing.T) {
	s := solver{where: "tcp://b:1", plan: &plan{contexts: []namedContext{{Name: "base"}}}}
	for _, err := range []error{
		fmt.Errorf("failed to solve: %w", errdefs.NewUnsupportedFrontendCapError(contextsCap)),
		errors.New("failed to solve with frontend dockerfile.v0: unsupported frontend capability " + contextsCap), // as Docker 20.10 has it
	} {
		got := s.withoutContexts(err)
		if fault.Code(got) != fault.ExitUsage || !strings.Contains(got.Error(), "input build-contexts: the BuildKit of tcp://b:1") || !strings.Contains(fault.Hint(got), "# syntax=") {
			t.Errorf("%v becomes %v; want a usage error that names the input, and what helps", err, got)
		}
	}
	s.bases = []baseImage{{Name: "docker.io/docker/dockerfile:1.2", syntax: "docker/dockerfile:1.2"}}
	if got := s.withoutContexts(errdefs.NewUnsupportedFrontendCapError(contextsCap)); got == nil || !strings.Contains(got.Error(), "frontend docker/dockerfile:1.2") {
		t.Errorf("the error is %v; want the frontend that the Dockerfile names", got)
	}
	for _, err := range []error{nil, errors.New(`process "echo unsupported frontend capability ` + contextsCap + `" did not complete successfully: exit code: 1`)} {
		if got := s.withoutContexts(err); got != nil {
			t.Errorf("%v is taken for %v", err, got)
		}
	}
}

func TestInputsWithoutEffectOnABuilderAreNamed(t *testing.T) {
	all := Inputs{
		Registries: Registries{Mirrors: []string{"docker.io=m"}, Insecure: []string{"r:5000"}},
		Builder:    Builder{State: "private", StateDir: "s", StateMaxSize: "1GB", Runtime: "crun", BuilderImage: "i", BuilderRm: true},
		Common:     step.Common{CABundle: "ca.pem"},
	}
	const pulls = "mirrors, insecure-registries (for its pulls), ca-bundle (for its pulls and RUN steps), state-max-size, "
	for _, tc := range []struct {
		kind  builder.Kind
		asked bool
		want  string
	}{
		{builder.Embedded, true, "builder-image, builder-rm"},
		{builder.Embedded, false, ""},
		{builder.Privileged, true, "state, state-dir, runtime"},
		{builder.Docker, true, pulls + "state, state-dir, runtime, builder-image, builder-rm"},
		{builder.Docker, false, pulls + "state, state-dir, runtime"},
		{builder.Container, true, pulls + "state, state-dir, runtime, builder-image, builder-rm"},
		{builder.Remote, true, pulls + "state, state-dir, runtime, builder-image, builder-rm"},
	} {
		if got := strings.Join(all.unheeded(tc.kind, tc.asked), ", "); got != tc.want {
			t.Errorf("on %s (asked for: %v) there is no effect of %q, want %q", tc.kind, tc.asked, got, tc.want)
		}
		usual := Inputs{Builder: Builder{State: "shared", CAInSteps: true}}
		if got := usual.unheeded(tc.kind, tc.asked); got != nil {
			t.Errorf("on %s nothing is given, and %q are named", tc.kind, got)
		}
	}
}
