package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
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

// Error implements error.
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
