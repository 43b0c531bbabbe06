package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	// maxToken bounds a token server's answer. JWTs with a hundred scopes are
	// some 20 kB.
	maxToken = 1 << 20

	// defaultLifetime is that of a token whose server does not say. The
	// specification: "defaults to 60 seconds".
	defaultLifetime = 60 * time.Second
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
	req, err := tokenRequest(ctx, realm, ch.service, credentials, scope)
	if err != nil {
		return "", 0, err
	}
	// The password is in the request: no redirect to another host gets it.
	client := http.Client{Transport: s.client.direct, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Host != realm.Host || next.URL.Scheme != realm.Scheme || len(via) > maxRedirects {
			return errors.New("the token server redirects to another address")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, s.client.transportError(req, err)
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		e := s.client.answerError(resp)
		e.Registry, e.token, e.anonymous = s.host, true, *credentials == authn.AuthConfig{}
		return "", 0, e
	}
	return s.parseToken(req, resp)
}

func (s *session) parseToken(req *http.Request, resp *http.Response) (string, time.Duration, error) {
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	if err == nil && len(body) > maxToken {
		err = fmt.Errorf("the answer is larger than %d bytes", maxToken)
	}
	if err == nil && json.Unmarshal(body, &answer) != nil {
		err = errors.New("the answer is no JSON") // the parser's text may quote the token
	}
	value := answer.Token
	if value == "" {
		value = answer.AccessToken
	}
	if err == nil && value == "" {
		err = errors.New("the answer has no token")
	}
	if err != nil {
		return "", 0, &Error{Method: req.Method, URL: redact(req.URL), Registry: s.host, token: true, cause: err}
	}
	lifetime := time.Duration(min(answer.ExpiresIn, 24*60*60)) * time.Second
	if lifetime <= 0 {
		lifetime = defaultLifetime
	}
	return value, lifetime, nil
}

// tokenRequest follows the token specification, with a GET, or that of OAuth 2
// where there is an identity token: it goes in a body, never in an address.
// https://distribution.github.io/distribution/spec/auth/oauth/
func tokenRequest(ctx context.Context, realm *url.URL, service string, credentials *authn.AuthConfig, scope string) (*http.Request, error) {
	if credentials.IdentityToken != "" {
		form := url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {credentials.IdentityToken},
			"client_id":     {"imagewright"},
			"service":       {service},
			"scope":         {scope},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	u := *realm
	query := u.Query()
	if service != "" {
		query.Set("service", service)
	}
	for _, one := range strings.Fields(scope) {
		query.Add("scope", one)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if credentials.Username != "" && credentials.Password != "" {
		req.Header.Set("Authorization", basicHeader(credentials))
	}
	return req, nil
}

// realm is the token server's address, if it is one that the password may be
// sent to: over TLS, or to the registry's own host or from loopback to
// loopback where the registry itself is spoken to without TLS. Anyone who can
// answer for the registry can name any address here.
func (s *session) realm(ch challenge) (*url.URL, error) {
	refuse := func(why string, hint string) error {
		return &Error{Registry: s.host, cause: fmt.Errorf("token server %q: %s", printable(ch.realm, 200), why), hint: hint}
	}
	u, err := url.Parse(ch.realm)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, refuse("not an address", "is this a registry? its login challenge names no token server")
	}
	if u.User != nil {
		return nil, refuse("the address has credentials in it", "")
	}
	if !mayReach(s.host, u.Host) {
		return nil, refuse("it is on a private network and the registry is not", "the registry's login challenge would send the password there; ask its administrator for a token server with a name")
	}
	if u.Scheme == "https" {
		return u, nil
	}
	sameHost := strings.EqualFold(hostname(u.Host), hostname(s.host))
	plainRegistry := s.client.plainHTTP(s.host) && s.scheme() != "https"
	if plainRegistry && (sameHost || isLoopback(u.Host)) || s.client.plainHTTP(u.Host) && !isLoopback(u.Host) {
		return u, nil
	}
	return nil, refuse("it does not use TLS", "the password would be sent in the clear; name its host in insecure-registries if that is meant")
}
