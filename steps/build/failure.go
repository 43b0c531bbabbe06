package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// failure is a build that did not work: where in the Dockerfile, what, and what
// to do. All its text is harmless to print.
type failure struct {
	File          string // as people name it; empty when no line is to blame
	Line, EndLine int
	Message       string
	Excerpt       string   // of the Dockerfile, several lines
	Command       string   // the step's, when it was a RUN
	Tail          []string // of that command's output

	hint  string
	cause error
}

// Error implements error.
func (f *failure) Error() string {
	switch {
	case f.File == "":
		return f.Message
	case f.Line == 0:
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
}

// Unwrap returns BuildKit's error.
func (f *failure) Unwrap() error { return f.cause }

// ExitCode is that of a failed build.
func (f *failure) ExitCode() int { return fault.ExitFailed }

// Hint says what to do, if anything is known.
func (f *failure) Hint() string { return f.hint }

// writeTo shows what the one line of Error cannot.
func (f *failure) writeTo(w io.Writer) error {
	var b strings.Builder
	if f.Excerpt != "" {
		fmt.Fprintf(&b, "\n%s", f.Excerpt)
	}
	if f.Command != "" {
		fmt.Fprintf(&b, "command:  %s\n", f.Command)
	}
	if len(f.Tail) > 0 {
		title := "output:"
		if len(f.Tail) == tailLines {
			title = fmt.Sprintf("output, the last %d lines:", tailLines)
		}
		fmt.Fprintln(&b, title)
		for _, line := range f.Tail {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// explain turns err of a solve into a failure. w has watched the build.
func explain(err error, d dockerfile, w *watcher) *failure {
	f := &failure{cause: err}
	// BuildKit lists the instruction that failed first, then what needed it.
	if sources := errdefs.Sources(err); len(sources) > 0 {
		f.place(sources[0], d, w)
	}
	if failed, ok := errors.AsType[*baseError](err); ok {
		f.place(d.source(failed.Base.Line), d, w)
	}
	if on, ok := errors.AsType[*nodeError](err); ok {
		defer func() { f.Message = "on builder " + on.node.Where + ": " + f.Message }()
	}
	if exit, ok := errors.AsType[*gatewaypb.ExitError](err); ok {
		f.explainRun(err, exit, w)
		return f
	}
	message, hint := reason(err)
	if m := unparsed.FindStringSubmatch(message); m != nil && len(d.Stages) > 0 {
		// We could read it, so we are newer.
		line, _ := strconv.Atoi(m[1]) // digits; 0 is no line
		f.place(d.source(line), d, w)
		message, hint = m[2], "an older BuildKit: put # syntax=docker/dockerfile:1 in its first line, or use builder=embedded"
	}
	if gone, ok := errors.AsType[*builder.Gone](err); ok {
		message, hint = gone.Error(), gone.Hint()
	}
	f.Message = w.line(strings.ReplaceAll(message, "failed to ", "")) // says nothing that an error doesn't
	f.hint = hint
	return f
}

// place sets where s is.
func (f *failure) place(s *errdefs.Source, d dockerfile, w *watcher) {
	if s.Info == nil || len(s.Ranges) == 0 {
		return
	}
	f.File = d.Shown
	f.Line, f.EndLine = int(s.Ranges[0].Start.Line), int(s.Ranges[len(s.Ranges)-1].End.Line)
	s.Info.Filename = f.File
	var text bytes.Buffer
	if err := s.Print(&text); err != nil {
		return
	}
	var b strings.Builder
	for line := range strings.Lines(text.String()) {
		b.WriteString(w.line(strings.TrimRight(line, "\r\n")) + "\n")
	}
	f.Excerpt = b.String()
}

func (f *failure) explainRun(err error, exit *gatewaypb.ExitError, w *watcher) {
	if vertex, ok := errors.AsType[*errdefs.VertexError](err); ok {
		id := digest.Digest(vertex.Digest)
		if on, ok := errors.AsType[*nodeError](err); ok {
			id = on.node.label(id)
		}
		f.Tail = w.tail(id)
		if v := w.vertices[id]; v != nil {
			_, f.Command, _ = strings.Cut(v.name, "] ") // [stage 2/3] RUN …
		}
	}
	how := fmt.Sprintf("exit code %d", exit.ExitCode)
	f.Message = how
	if f.Command != "" {
		f.Message = shorten(f.Command) + ": " + how
	}
	said := func(what string) bool {
		return slices.ContainsFunc(f.Tail, func(line string) bool { return strings.Contains(strings.ToLower(line), what) })
	}
	// https://tldp.org/LDP/abs/html/exitcodes.html
	switch {
	case said(fullDisk):
		f.hint = makeRoom
	case said("exec format error"):
		f.hint = "its program is for another architecture; build on a builder for that platform (input builder), or have the kernel emulate it (binfmt_misc, qemu-user-static)"
	case exit.ExitCode == 126:
		f.hint = "the shell could not run that file; check its permissions and its architecture"
	case exit.ExitCode == 127:
		f.hint = "the command is not in the image at that point"
	case exit.ExitCode == 137:
		f.hint = "the step was killed, most often for want of memory"
	}
}

// shorten keeps a message to one readable line.
func shorten(s string) string {
	const maxRunes = 120
	if runes := []rune(s); len(runes) > maxRunes {
		return string(runes[:maxRunes]) + "…"
	}
	return s
}

// BuildKit carries codes over its API but few types: what an error is about
// stands in its text alone. The text picks words here, never an exit code.
var (
	resolving = regexp.MustCompile(`failed to (?:resolve source metadata for|fetch) (\S+?): (.*)`)
	missing   = regexp.MustCompile(`failed to calculate checksum of ref .*"/?([^"]*)": not found`)
	unparsed  = regexp.MustCompile(`dockerfile parse error (?:on )?line (\d+): (.*)`)
	answered  = regexp.MustCompile(`^rpc error: code = \w+ desc = `) // the engine's answer to us
	// https://github.com/moby/buildkit/blob/v0.34.2/util/entitlements/entitlements.go
	entitlement = regexp.MustCompile(`(network\.host|security\.insecure|device\S*) is not allowed`)
	wrapped     = regexp.MustCompile(`.*rpc error: code = \w+ desc = `) // an answer of this process to the engine
)

// fullDisk is how the kernel says it, to the engine as to a step.
const (
	fullDisk = "no space left on device"
	makeRoom = "free some disk space, or lower state-max-size"
)

const login = "give registry, username and password, or log in with DOCKER_CONFIG"

// reason says in one sentence why a build failed, and what to do.
func reason(err error) (message, hint string) {
	text := err.Error()
	if at := answered.FindStringIndex(text); at != nil {
		text = text[at[1]:]
	}
	text = strings.TrimPrefix(text, "failed to solve: ")
	text = strings.TrimPrefix(text, grpcerrors.Code(err).String()+": ")
	if m := missing.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%s is not in the build context", m[1]), "it is missing, misspelt, or kept out by .dockerignore"
	}
	if what, hint := contextReason(text); what != "" {
		return what, hint
	}
	if m := entitlement.FindStringSubmatch(text); m != nil {
		return "the Dockerfile or an input asks for " + m[1] + ", which is not granted", "set allow to " + m[1] + "; a builder that is served needs the same"
	}
	if strings.Contains(text, "denied by policy") {
		return "an image is not named by its digest: " + last(strings.TrimSuffix(text, ": source denied by policy")), "write its digest behind the tag, or leave require-pinned-base out"
	}
	own := wrapped.ReplaceAllString(text, "") // of this process's answer to the engine, if that is what failed
	if m := resolving.FindStringSubmatch(text); m != nil && own == text {
		return imageReason(m[1], m[2], grpcerrors.Code(err))
	}
	text = own
	switch grpcerrors.Code(err) {
	case codes.Unauthenticated:
		return "the registry did not let us in: " + text, login
	case codes.PermissionDenied:
		return text, "its login challenge would send the password there; if that is meant, name that host in insecure-registries"
	}
	if strings.Contains(text, fullDisk) {
		return text, makeRoom
	}
	if what, hint := transportReason(text); what != "" {
		return what, hint
	}
	return text, ""
}

// imageReason says why image could not be read.
func imageReason(image, text string, code codes.Code) (message, hint string) {
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
	switch {
	case has("no match for platform"):
		return fmt.Sprintf("image %s is not made for the platform that is wanted", image), "its registry shows for which it is; set platforms, or FROM --platform, to one of them"
	case has("401 Unauthorized", "403 Forbidden", "insufficient_scope", "authorization failed", "access denied") || code == codes.Unauthenticated || code == codes.PermissionDenied:
		return fmt.Sprintf("image %s: the registry did not let us in: %s", image, last(text)), login + "; Docker Hub also answers so when there is no such image"
	case has("not found") || code == codes.NotFound:
		return fmt.Sprintf("image %s does not exist in its registry", image), "check its name and tag"
	}
	if what, hint := transportReason(text); what != "" {
		return fmt.Sprintf("image %s: %s", image, what), hint
	}
	return fmt.Sprintf("image %s: %s", image, text), ""
}

// transportReason knows the ways a registry cannot be reached; "" for others.
func transportReason(text string) (message, hint string) {
	for _, known := range []struct{ word, message, hint string }{
		{"server gave HTTP response to HTTPS client", "the registry speaks plain HTTP", "name it in insecure-registries, if you trust the network to it"},
		{"x509:", "the registry's certificate is not trusted", "give the authority's certificate with ca-bundle"},
		{"no such host", "the registry's name does not resolve", "check the name, and the proxy inputs"},
		{"connection refused", "the registry refuses connections", "check that it runs, its port, and the proxy inputs"},
		{"i/o timeout", "the registry does not answer", "check the network and the proxy inputs"},
		{"network is unreachable", "there is no network to the registry", "check the network and the proxy inputs"},
	} {
		if strings.Contains(text, known.word) {
			return known.message + ": " + dialed(text), known.hint
		}
	}
	return "", ""
}

// dialed is the innermost part of a network error that still names the address.
func dialed(text string) string {
	if i := strings.LastIndex(text, "dial "); i >= 0 {
		return text[i:]
	}
	return last(text)
}

// last is the innermost part of an error's text.
func last(text string) string {
	return strings.TrimSpace(text[strings.LastIndex(text, ": ")+1:])
}
