package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/registry/auth"
)

const (
	dialTimeout      = 30 * time.Second
	handshakeTimeout = 10 * time.Second

	// answerTimeout bounds the wait for an answer once a request is sent.
	// Registries on object storage copy a blob of gigabytes when it is
	// committed, and answer only then.
	answerTimeout = 5 * time.Minute

	maxRedirects = 5
)

func newTransport(roots *x509.CertPool, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                 proxy,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   handshakeTimeout,
		ResponseHeaderTimeout: answerTimeout,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   32, // all the requests in flight to one registry
		IdleConnTimeout:       90 * time.Second,
		// A layer is compressed as it is; unpacking it on the way would change
		// its digest.
		DisableCompression: true,
	}
}

// checkRedirect decides on a redirect. Credentials never follow one to another
// host: the transport adds them for the target's host only.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	origin := via[0]
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if err := c.checkAddress(origin.URL.Host, req.URL); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	if origin.Method != http.MethodGet && origin.Method != http.MethodHead && req.URL.Host != origin.URL.Host {
		return fmt.Errorf("redirect of a %s to another host, %s", origin.Method, req.URL.Host)
	}
	return nil
}

// checkAddress says why an answer of the registry at host must not send us to
// u: a redirect, or the place of an upload.
func (c *Client) checkAddress(host string, u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s is no address for http", u.Scheme)
	case u.User != nil:
		return errors.New("the address has credentials in it")
	case !auth.MayReach(host, u.Host):
		return fmt.Errorf("%s is on a private network and %s is not", u.Host, host)
	case u.Scheme == "http" && u.Host != host && !c.plain.Has(u.Host) && !c.plain.Has(host):
		// The same host with http is a registry that does not know of the TLS
		// in front of it; the transport puts the scheme right.
		return fmt.Errorf("%s is plain HTTP and %s is not", u.Host, host)
	}
	return nil
}

// authenticated adds the credentials that a request's target needs.
type authenticated struct{ client *Client }

// RoundTrip implements [http.RoundTripper].
func (a *authenticated) RoundTrip(req *http.Request) (*http.Response, error) {
	t, ok := targetOf(req.Context())
	if !ok || !strings.EqualFold(req.URL.Host, t.host()) {
		return a.client.direct.RoundTrip(req) // a redirect: nobody's credentials
	}
	resp, err := a.roundTrip(req, t)
	if err != nil && req.Body != nil {
		req.Body.Close() // a second time does no harm
	}
	return resp, err
}

func (a *authenticated) roundTrip(req *http.Request, t target) (*http.Response, error) {
	s := a.client.session(t.host())
	if err := s.hello(req.Context()); err != nil {
		return nil, err
	}
	out := outgoing{req: req, scheme: s.scheme()}
	scopes := t.scopes()
	for i := s.settled(scopes); ; i++ {
		last := i == len(scopes)-1
		resp, err := a.tryScope(s, t, scopes[i], &out)
		switch {
		case err != nil && isScopeRefused(err) && !last:
			continue
		case err != nil:
			return nil, err
		case resp.StatusCode != http.StatusUnauthorized || last || !s.bearer() || !out.rewinds():
			s.settle(scopes, i)
			return resp, nil
		}
		discard(resp)
	}
}

// tryScope sends the request with a token of scope. After a 401 it sends it
// once more where something would be different: a token that came from the
// cache is renewed, and a challenge not heard before is answered.
func (a *authenticated) tryScope(s *session, t target, scope string, out *outgoing) (*http.Response, error) {
	ctx := out.req.Context()
	first, err := s.authorization(ctx, t, scope, "")
	if err != nil {
		return nil, err
	}
	resp, err := out.send(a.client.direct, first.header)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if news := s.learn(resp); !(news || first.cached) || !out.rewinds() {
		return resp, nil
	}
	again, err := s.authorization(ctx, t, scope, first.header)
	if err != nil || again.header == first.header {
		// Without new credentials the registry's own answer says it best.
		if err != nil && !isScopeRefused(err) {
			discard(resp)
			return nil, err
		}
		return resp, nil
	}
	discard(resp)
	return out.send(a.client.direct, again.header)
}

// outgoing is a request that may be sent more than once.
type outgoing struct {
	req    *http.Request
	scheme string
	sent   bool
}

func (o *outgoing) rewinds() bool {
	return o.req.Body == nil || o.req.Body == http.NoBody || o.req.GetBody != nil
}

func (o *outgoing) send(next http.RoundTripper, authorization string) (*http.Response, error) {
	r := o.req.Clone(o.req.Context())
	r.URL.Scheme = o.scheme
	r.Header.Del("Authorization")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if o.sent && o.req.GetBody != nil {
		body, err := o.req.GetBody()
		if err != nil {
			return nil, err
		}
		r.Body = body
	}
	o.sent = true
	return next.RoundTrip(r)
}
