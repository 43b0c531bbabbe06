// Package registry talks to image registries. Every step that does uses this
// one client, so that credentials, retries, redirects and limits are decided
// in one place: in a transport that also lies below go-containerregistry where
// that library reads images.
//
// The rules it follows are those of the OCI distribution specification,
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md, and of
// https://distribution.github.io/distribution/spec/auth/token/.
package registry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/registry/auth"
)

// Access is what a token is asked for.
type Access int

// The accesses, each with those before it.
const (
	Pull Access = iota
	Push
	Delete
)

// Options of a Client. The zero value reads anonymously.
type Options struct {
	// Keychain has the credentials; nil is anonymous.
	Keychain authn.Keychain

	// PlainHTTP are the hosts, with or without a port, that are spoken to
	// without TLS. Loopback always is.
	PlainHTTP []string

	// CABundle is a PEM file of authorities to trust beside the system's.
	CABundle string

	// Proxy chooses the proxy for a request, as in [http.Transport]. nil goes
	// by the process's environment.
	Proxy func(*http.Request) (*url.URL, error)

	// Access is the least that tokens are asked for, so that a client that is
	// going to write gets along with one token. The default is Pull.
	Access Access

	// UserAgent is sent with every request. The default is "imagewright".
	UserAgent string

	// MaxRetries is how often a request is sent again after the first time.
	// 0 is the default, 7; less is never.
	MaxRetries int

	// Log hears of retries (info) and requests (debug). nil is silence.
	Log *slog.Logger
}

// Client talks to registries. Its methods may be called at the same time.
type Client struct {
	keychain  authn.Keychain
	plain     auth.PlainHTTP
	access    Access
	userAgent string
	log       *slog.Logger

	retry  retryPolicy
	direct http.RoundTripper // retries; knows no credentials
	http   *http.Client      // credentials, retries, redirects
	now    func() time.Time  // for the age of tokens

	mu       sync.Mutex
	sessions map[string]*session // by registry host
}

// New returns a client. It opens no connection yet.
func New(o Options) (*Client, error) {
	roots, err := auth.CAs(o.CABundle)
	if err != nil {
		return nil, err
	}
	c := &Client{
		keychain:  o.Keychain,
		plain:     o.PlainHTTP,
		access:    o.Access,
		userAgent: o.UserAgent,
		log:       o.Log,
		retry:     newRetryPolicy(o.MaxRetries),
		now:       time.Now,
		sessions:  map[string]*session{},
	}
	if c.keychain == nil {
		c.keychain = authn.NewMultiKeychain()
	}
	if c.userAgent == "" {
		c.userAgent = "imagewright"
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	proxy := o.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	c.direct = &retrying{client: c, next: newTransport(roots, proxy)}
	c.http = &http.Client{Transport: &authenticated{c}, CheckRedirect: c.checkRedirect}
	return c, nil
}

// Reference parses a tag or digest reference and decides whether its registry
// is spoken to without TLS.
func (c *Client) Reference(s string) (name.Reference, error) {
	ref, err := name.ParseReference(s)
	if err != nil || !c.plain.Has(ref.Context().RegistryStr()) {
		return ref, err
	}
	return name.ParseReference(s, name.Insecure)
}

// Repository parses the name of a repository, as Reference does.
func (c *Client) Repository(s string) (name.Repository, error) {
	repo, err := name.NewRepository(s)
	if err != nil || !c.plain.Has(repo.RegistryStr()) {
		return repo, err
	}
	return name.NewRepository(s, name.Insecure)
}

// get sends a request without a body.
func (c *Client) get(ctx context.Context, t target, method, url string, header http.Header) (*http.Response, error) {
	return c.send(ctx, t, method, url, header, nil)
}

// send sends a request of t and returns the answer, whatever its status. A
// body must be one that http.NewRequest can rewind, or nil.
func (c *Client) send(ctx context.Context, t target, method, url string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(withTarget(ctx, t), method, url, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	return c.do(req)
}

// do sends req, whose context has a target. Its errors are *Error.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(req, err)
	}
	return resp, nil
}

// url is the address of a part of t's repository.
func (c *Client) url(t target, kind, rest string) string {
	scheme := "https"
	if c.plain.Has(t.host()) {
		scheme = "http"
	}
	return scheme + "://" + t.host() + "/v2/" + t.repo.RepositoryStr() + "/" + kind + "/" + rest
}

// discard reads the rest of a small body, so that the connection is used again.
func discard(resp *http.Response) {
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
}
