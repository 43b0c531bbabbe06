package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/solver/pb"
	policypb "github.com/moby/buildkit/sourcepolicy/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
)

// imageScheme is how BuildKit's sources begin that are images of a registry.
const imageScheme = "docker-image://"

// baseImage is an image that a Dockerfile builds on, copies from or mounts.
type baseImage struct {
	Name     string // whole: docker.io/library/golang:1.26, perhaps with a digest
	Line     int    // in the Dockerfile, of its first use
	Platform ocispecs.Platform
	Final    bool          // what the target itself is built on
	Digest   digest.Digest // of the manifest or index, once it is resolved
	Config   *v1.ConfigFile
	layout   *image.Layout // that holds it, where it is no registry's
	syntax   string        // the words that name it, when it is the frontend's own image
}

// pinned tells whether the Dockerfile itself says which image it means.
func (b baseImage) pinned() bool { return b.layout != nil || strings.Contains(b.Name, "@") }

// baseQuery is what decides which images a Dockerfile needs.
type baseQuery struct {
	Target   string              // stage
	Args     map[string]string   // build arguments
	Contexts []namedContext      // which take the place of images and stages
	Builder  ocispecs.Platform   // what $BUILDPLATFORM is
	Wanted   []ocispecs.Platform // what is built
}

// bases returns the images that building q needs, in the order of the file and
// once for each platform they are needed for. Stages that the target doesn't
// reach are left out, as BuildKit leaves them out. There are none where only the
// frontend that the Dockerfile names can tell.
func (d dockerfile) bases(q baseQuery) ([]baseImage, error) {
	var all []baseImage
	for _, wanted := range q.Wanted {
		search := &baseSearch{d: d, q: q, wanted: wanted, seen: map[int]bool{}}
		if err := search.globals(); err != nil {
			return nil, err
		}
		target := len(d.Stages) - 1
		if q.Target != "" {
			if i, ok := instructions.HasStage(d.Stages, q.Target); ok {
				target = i
			}
		}
		if target < 0 {
			return nil, nil
		}
		if err := search.stage(target, true); err != nil {
			return nil, err
		}
		all = append(all, search.found...)
	}
	slices.SortStableFunc(all, func(a, b baseImage) int { return a.Line - b.Line })
	return slices.CompactFunc(all, func(a, b baseImage) bool {
		return a.Name == b.Name && a.Final == b.Final && platforms.FormatAll(a.Platform) == platforms.FormatAll(b.Platform)
	}), nil
}

// baseSearch walks from a target to all the images it needs for one platform.
type baseSearch struct {
	d      dockerfile
	q      baseQuery
	wanted ocispecs.Platform
	env    shell.EnvGetter // what FROM may expand
	seen   map[int]bool    // stages
	found  []baseImage
}

// globals fills env: BuildKit's platform arguments, then those before the first
// FROM, each of which sees the ones before it.
func (s *baseSearch) globals() error {
	env := []string{
		"BUILDPLATFORM=" + platforms.Format(s.q.Builder), "BUILDOS=" + s.q.Builder.OS,
		"BUILDARCH=" + s.q.Builder.Architecture, "BUILDVARIANT=" + s.q.Builder.Variant,
		"TARGETPLATFORM=" + platforms.Format(s.wanted), "TARGETOS=" + s.wanted.OS,
		"TARGETARCH=" + s.wanted.Architecture, "TARGETVARIANT=" + s.wanted.Variant,
	}
	for _, command := range s.d.args {
		for _, arg := range command.Args {
			value, given := s.q.Args[arg.Key]
			if !given && arg.Value != nil {
				var err error
				if value, err = expand(*arg.Value, shell.EnvsFromSlice(env)); err != nil {
					return s.at(command.Location()[0].Start.Line, err)
				}
			}
			if given || arg.Value != nil {
				env = append(env, arg.Key+"="+value)
			}
		}
	}
	s.env = shell.EnvsFromSlice(env)
	return nil
}

// stage adds what stage i needs; final says that the target is built on it. A
// final stage comes before all that is copied into it, so it is never one seen
// before.
func (s *baseSearch) stage(i int, final bool) error {
	if s.seen[i] {
		return nil
	}
	s.seen[i] = true
	stage := s.d.Stages[i]
	line := 0
	if len(stage.Location) > 0 {
		line = stage.Location[0].Start.Line
	}
	platform, err := s.platform(stage.Platform)
	if err != nil {
		return s.at(line, err)
	}
	if c := s.context(stage.Name); c != nil {
		s.given(c, use{stage.Name, i, line, platform, final})
		return nil
	}
	if err := s.need(use{stage.BaseName, i, line, platform, final}); err != nil {
		return err
	}
	for _, command := range stage.Commands {
		var from []string
		switch c := command.(type) {
		case *instructions.CopyCommand:
			from = []string{c.From}
		case *instructions.RunCommand:
			for _, mount := range instructions.GetMounts(c) {
				from = append(from, mount.From)
			}
		}
		for _, name := range from {
			if err := s.needSource(name, i, command.Location()[0].Start.Line); err != nil {
				return err
			}
		}
	}
	return nil
}

// needSource adds what name in COPY --from or RUN --mount=from stands for; it
// may be a stage's number there.
func (s *baseSearch) needSource(name string, stage, line int) error {
	if name == "" {
		return nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < stage {
		return s.stage(i, false)
	}
	return s.need(use{name, stage, line, s.wanted, false})
}

// use is where a Dockerfile names a stage or an image.
type use struct {
	name     string
	stage    int // that the name stands in
	line     int
	platform ocispecs.Platform
	final    bool
}

// need adds what u stands for: an earlier stage, or an image.
func (s *baseSearch) need(u use) error {
	name, err := expand(u.name, s.env)
	if err != nil {
		return s.at(u.line, err)
	}
	if i, ok := instructions.HasStage(s.d.Stages[:u.stage], name); ok {
		return s.stage(i, u.final)
	}
	if name == "scratch" || name == "" {
		return nil // the frontend complains of an empty one
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil // the frontend says it better
	}
	if c := s.context(reference.FamiliarString(named)); c != nil {
		s.given(c, u)
		return nil
	}
	s.add(reference.TagNameOnly(named).String(), u)
	return nil
}

func (s *baseSearch) add(name string, u use) *baseImage {
	s.found = append(s.found, baseImage{Name: name, Line: u.line, Platform: u.platform, Final: u.final})
	return &s.found[len(s.found)-1]
}

// context returns the named context that takes the place of name, or nil.
func (s *baseSearch) context(name string) *namedContext {
	for i, c := range s.q.Contexts {
		if strings.EqualFold(c.Name, strings.TrimSuffix(name, ":latest")) {
			return &s.q.Contexts[i]
		}
	}
	return nil
}

// given adds the image that c is, if it is one, for where the Dockerfile names
// something else.
func (s *baseSearch) given(c *namedContext, u use) {
	switch {
	case c.Image != "":
		if named, err := reference.ParseNormalizedNamed(c.Image); err == nil {
			s.add(reference.TagNameOnly(named).String(), u)
		}
	case c.Layout != nil:
		b := s.add(c.Name, u)
		b.layout, b.Digest = c.Layout, c.Digest
	}
}

func (s *baseSearch) platform(text string) (ocispecs.Platform, error) {
	text, err := expand(text, s.env)
	if err != nil || text == "" {
		return s.wanted, err
	}
	platform, err := platforms.Parse(text)
	if err != nil {
		return s.wanted, fmt.Errorf("%q is no platform", text)
	}
	return platforms.Normalize(platform), nil
}

func (s *baseSearch) at(line int, err error) error {
	return &badDockerfile{File: s.d.Shown, Line: line, EndLine: line, Message: err.Error()}
}

func expand(word string, env shell.EnvGetter) (string, error) {
	result, err := shell.NewLex('\\').ProcessWordWithMatches(word, env)
	return result.Result, err
}

// refuseFloating is require-pinned-base: every base must be named by digest.
func refuseFloating(d dockerfile, needed []baseImage) error {
	var all []error
	for _, b := range needed {
		if !b.pinned() {
			all = append(all, fault.Refused(&badDockerfile{File: d.Shown, Line: b.Line, EndLine: b.Line,
				Message: fmt.Sprintf("%s image %s is not named by its digest", b.role(), familiar(b.Name))},
				"write its digest behind the tag, NAME:TAG@sha256:…, or leave require-pinned-base out"))
		}
	}
	return errors.Join(all...)
}

func (b baseImage) role() string {
	if b.syntax != "" {
		return "frontend"
	}
	return "base"
}

// syntaxArg names the frontend, as # syntax= does, and wins over that.
const syntaxArg = "BUILDKIT_SYNTAX"

// ownFrontend is the image that reads d in place of the builder's frontend, if d
// or args name one.
func (d dockerfile) ownFrontend(args map[string]string, on ocispecs.Platform) (baseImage, bool) {
	_, words, where, ok := parser.DetectSyntax(d.data)
	line := 0
	if len(where) > 0 {
		line = where[0].Start.Line
	}
	if given := args[syntaxArg]; given != "" {
		words, ok, line = strings.TrimSpace(given), true, 0
	}
	name, _, _ := strings.Cut(words, " ")
	named, err := reference.ParseNormalizedNamed(name)
	if !ok || err != nil { // the builder says it better
		return baseImage{}, false
	}
	return baseImage{Name: reference.TagNameOnly(named).String(), Line: line, Platform: on, syntax: words}, true
}

// byDigestSyntax are the words with the image's digest in them.
func (b baseImage) byDigestSyntax() string {
	_, rest, _ := strings.Cut(b.syntax, " ")
	return strings.TrimSpace(b.byDigest() + " " + rest)
}

// familiar is name as people write it.
func familiar(name string) string {
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.FamiliarString(named)
	}
	return name
}

// resolver is what bases are resolved with: BuildKit's gateway, so that the
// builder's own mirrors, credentials and network count.
type resolver interface {
	ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error)
}

// resolve fills in the digests and configs of bases. A name that several
// platforms, stages or builders use has one digest, whatever happens to its tag
// in between.
func resolve(ctx context.Context, from resolver, mode string, bases []baseImage, known *digests) error {
	for i := range bases {
		if bases[i].layout != nil {
			bases[i].read(ctx)
			continue
		}
		if err := bases[i].resolve(ctx, from, mode, known); err != nil {
			return &baseError{bases[i], err}
		}
	}
	return nil
}

func (b *baseImage) resolve(ctx context.Context, from resolver, mode string, known *digests) error {
	var found *sourceresolver.ResolveImageResponse
	ask := func(name string) (digest.Digest, error) {
		answer, err := from.ResolveSourceMetadata(ctx, &pb.SourceOp{Identifier: imageScheme + name}, sourceresolver.Opt{
			LogName:  "[internal] resolve " + familiar(b.Name),
			ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &b.Platform, ResolveMode: mode},
		})
		if err != nil {
			return "", err
		}
		if found = answer.Image; found == nil {
			return "", errors.New("the builder does not say what it is")
		}
		return found.Digest, nil
	}
	var err error
	if b.Digest, err = known.of(b.Name, func() (digest.Digest, error) { return ask(b.Name) }); err != nil {
		return err
	}
	if found == nil { // somebody else has asked, perhaps for another platform
		if _, err := ask(b.byDigest()); err != nil {
			return err
		}
	}
	b.Config = new(v1.ConfigFile)
	return json.Unmarshal(found.Config, b.Config)
}

// read finds the config of b in its layout. Where there is none for b's platform,
// the build says so better, if it minds.
func (b *baseImage) read(ctx context.Context) {
	opened, err := image.Open(ctx, "oci:"+b.layout.Dir(), image.Options{
		Name:     b.Digest.String(),
		Platform: &v1.Platform{OS: b.Platform.OS, Architecture: b.Platform.Architecture, Variant: b.Platform.Variant},
	})
	if err != nil {
		return
	}
	defer opened.Close()
	if found, err := opened.Image(); err == nil {
		b.Config, _ = found.ConfigFile()
	}
}

// byDigest is the name with the digest that it stands for.
func (b baseImage) byDigest() string {
	if b.pinned() {
		return b.Name
	}
	return b.Name + "@" + b.Digest.String()
}

// baseError is a base image that could not be resolved.
type baseError struct {
	Base  baseImage
	cause error
}

func (e *baseError) Error() string {
	return fmt.Sprintf("failed to resolve source metadata for %s: %v", familiar(e.Base.Name), e.cause)
}

// Unwrap returns the cause.
func (e *baseError) Unwrap() error { return e.cause }

// sourcePolicy makes the builder take each base by the digest it was resolved
// to, wherever the build names it, and with pinned no image by a tag alone.
func sourcePolicy(bases []baseImage, pinned bool) *policypb.Policy {
	policy := &policypb.Policy{Version: 1}
	if pinned {
		policy.Rules = append(policy.Rules, &policypb.Rule{
			Action:   policypb.PolicyAction_DENY,
			Selector: &policypb.Selector{Identifier: "^" + imageScheme + "[^@]+$", MatchType: policypb.MatchType_REGEX},
		})
	}
	seen := map[string]bool{}
	for _, b := range bases {
		if b.pinned() || seen[b.Name] {
			continue
		}
		seen[b.Name] = true
		policy.Rules = append(policy.Rules, &policypb.Rule{
			Action:   policypb.PolicyAction_CONVERT,
			Selector: &policypb.Selector{Identifier: imageScheme + b.Name, MatchType: policypb.MatchType_EXACT},
			Updates:  &policypb.Update{Identifier: imageScheme + b.byDigest()},
		})
	}
	if policy.Rules == nil {
		return nil
	}
	return policy
}
