package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	sessionauth "github.com/moby/buildkit/session/auth"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
)

// puller reads the sources of a merge that lie in registries, with the
// credentials that a build would lend its builder. It reads alone: the client of
// internal/registry, which also writes, is no part of this program
// (test/architecture_test.go).
type puller struct{ *credentials }

func (s *Step) newPuller(job *step.Job) (*puller, error) {
	if err := auth.CheckLogin(s.inputs.Username, s.inputs.Password, "IMAGEWRIGHT_BUILD_PASSWORD"); err != nil {
		return nil, err
	}
	own, err := s.credentials(job)
	return &puller{own}, err
}

// Reference implements image.Registry. It takes references with a digest alone:
// a tag may name another image by now than the one that a job built.
func (p *puller) Reference(s string) (name.Reference, error) {
	ref, err := name.NewDigest(s)
	if _, tagErr := name.NewTag(s); err != nil && tagErr == nil {
		return nil, errors.New("it has no digest, and what a tag names may change")
	}
	return ref, err
}

// Descriptor implements image.Registry.
func (p *puller) Descriptor(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	d, err := remote.Get(ref,
		remote.WithContext(ctx),
		remote.WithAuth(authn.Anonymous), // the transport logs in
		remote.WithTransport(&pulling{puller: p, repository: ref.Context()}),
		remote.WithUserAgent("imagewright-build/"+step.Version()),
	)
	answer, ok := errors.AsType[*transport.Error](err)
	switch {
	case !ok:
		return d, err
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return nil, fault.Failed(fmt.Errorf("image %s: the registry did not let us in: %d %s", ref, answer.StatusCode, http.StatusText(answer.StatusCode)),
			login)
	case answer.StatusCode == http.StatusNotFound:
		return nil, fault.Failed(fmt.Errorf("image %s does not exist in its registry", ref), "has its job pushed it?")
	}
	// Without what the registry wrote beside it, which is a stranger's text.
	return nil, fmt.Errorf("image %s: the registry answered %d %s", ref, answer.StatusCode, http.StatusText(answer.StatusCode))
}

// pulling is a transport that logs in where the registry asks for it, and
// nowhere else: what it redirects to gets no credentials. It takes the place of
// go-containerregistry's, which refuses token servers in a company's network.
type pulling struct {
	*puller
	repository name.Repository

	mu     sync.Mutex
	header string // Authorization
}

// RoundTrip implements http.RoundTripper. The library only gets.
func (p *pulling) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v2/" { // the library asks how to log in; it need not
		return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	}
	if req.URL.Host != p.repository.RegistryStr() {
		return p.transport.RoundTrip(req)
	}
	p.mu.Lock()
	known := p.header
	p.mu.Unlock()
	resp, err := p.send(req, known)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	header, err := p.logIn(req.Context(), resp.Header)
	if err == nil && header == "" {
		return resp, nil
	}
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	return p.send(req, header)
}

func (p *pulling) send(req *http.Request, header string) (*http.Response, error) {
	req = req.Clone(req.Context())
	if p.plain.Has(req.URL.Host) {
		req.URL.Scheme = "http" // the library tries https
	}
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	return p.transport.RoundTrip(req)
}

// logIn returns the Authorization header that a registry's challenge asks for,
// "" where there is none to give.
func (p *pulling) logIn(ctx context.Context, asked http.Header) (header string, err error) {
	host := p.repository.RegistryStr()
	for _, challenge := range dockerauth.ParseAuthHeader(asked) { // tokens first
		switch challenge.Scheme {
		case dockerauth.BearerAuth:
			token, err := p.FetchToken(ctx, &sessionauth.FetchTokenRequest{
				Host: host, Realm: challenge.Parameters["realm"], Service: challenge.Parameters["service"],
				Scopes: []string{p.repository.Scope(transport.PullScope)},
			})
			if err != nil {
				return "", loginError(err)
			}
			header = "Bearer " + token.Token
		case dockerauth.BasicAuth:
			found, err := p.lookup(ctx, host)
			if err != nil {
				return "", loginError(err)
			}
			if found.Username != "" {
				header = auth.BasicHeader(&found)
			}
		}
		if header != "" {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.header = header
	return header, nil
}

// loginError says as a build would why the credentials' answer is none.
func loginError(err error) error {
	message, hint := reason(err)
	return fault.Failed(errors.New(message), hint)
}
