package registry

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/registry/auth"
)

// fetchToken asks the challenge's token server for a token of scope.
func (s *session) fetchToken(ctx context.Context, ch challenge, credentials *authn.AuthConfig, scope string) (string, time.Duration, error) {
	realm, err := s.realm(ch)
	if err != nil {
		return "", 0, err
	}
	if ch.scope != "" && !strings.HasPrefix(ch.scope, "repository:") {
		scope += " " + ch.scope // some registries have scopes of their own, for all of them
	}
	req, err := auth.TokenRequest(ctx, realm, ch.service, credentials, strings.Fields(scope))
	if err != nil {
		return "", 0, err
	}
	resp, err := auth.SendTokenRequest(s.client.direct, req)
	if err != nil {
		return "", 0, s.client.transportError(req, err)
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		e := s.client.answerError(resp)
		e.Registry, e.token, e.anonymous = s.host, true, *credentials == authn.AuthConfig{}
		return "", 0, e
	}
	value, lifetime, err := auth.ReadToken(resp.Body)
	if err != nil {
		return "", 0, &Error{Method: req.Method, URL: redact(req.URL), Registry: s.host, token: true, cause: err}
	}
	return value, lifetime, nil
}

// realm is the token server's address, if the password may be sent there.
func (s *session) realm(ch challenge) (*url.URL, error) {
	overTLS := !s.client.plain.Has(s.host) || s.scheme() == "https"
	u, err := auth.Realm(s.host, ch.realm, overTLS, s.client.plain)
	if err != nil {
		return nil, &Error{Registry: s.host, cause: err, hint: fault.Hint(err)}
	}
	return u, nil
}
