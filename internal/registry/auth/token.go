package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	// maxToken bounds a token server's answer. JWTs with a hundred scopes are
	// some 20 kB.
	maxToken = 1 << 20

	// defaultLifetime is that of a token whose server does not say. The
	// specification: "defaults to 60 seconds".
	defaultLifetime = 60 * time.Second

	maxTokenRedirects = 5
)

// Realm is the address of the token server that a registry's challenge names,
// if it is one that the password may be sent to: over TLS, or to the registry's
// own host or from loopback to loopback where the registry itself is spoken to
// without TLS (overTLS is false), or to a host named in plain. Anyone who can
// answer for the registry can name any address in its challenge. An error has a
// hint where there is something to do.
func Realm(registry, realm string, overTLS bool, plain PlainHTTP) (*url.URL, error) {
	refuse := func(why, hint string) error {
		return fault.Failed(fmt.Errorf("token server %.200q: %s", realm, why), hint)
	}
	u, err := url.Parse(realm)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, refuse("not an address", "is this a registry? its login challenge names no token server")
	}
	if u.User != nil {
		return nil, fault.Failed(errors.New("token server: its address has credentials in it"), "")
	}
	if !MayReach(registry, u.Host) {
		return nil, refuse("it is on a private network and the registry is not", "the registry's login challenge would send the password there; ask its administrator for a token server with a name")
	}
	if u.Scheme == "https" {
		return u, nil
	}
	sameHost := strings.EqualFold(hostname(u.Host), hostname(registry))
	if !overTLS && (sameHost || IsLoopback(u.Host)) || plain.Has(u.Host) && !IsLoopback(u.Host) {
		return u, nil
	}
	return nil, refuse("it does not use TLS", "the password would be sent in the clear; name its host in insecure-registries if that is meant")
}

// TokenRequest follows the token specification, with a GET, or that of OAuth 2
// where there is an identity token: it goes in a body, never in an address.
// https://distribution.github.io/distribution/spec/auth/oauth/
func TokenRequest(ctx context.Context, realm *url.URL, service string, credentials *authn.AuthConfig, scopes []string) (*http.Request, error) {
	if credentials.IdentityToken != "" {
		form := url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {credentials.IdentityToken},
			"client_id":     {"imagewright"},
			"service":       {service},
			"scope":         {strings.Join(scopes, " ")},
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
	for _, one := range scopes {
		query.Add("scope", one)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if credentials.Username != "" && credentials.Password != "" {
		req.Header.Set("Authorization", BasicHeader(credentials))
	}
	return req, nil
}

// BasicHeader is the Authorization header of basic authentication.
func BasicHeader(credentials *authn.AuthConfig) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials.Username+":"+credentials.Password))
}

// SendTokenRequest sends req, which TokenRequest made. The password is in it:
// no redirect to another address gets it.
func SendTokenRequest(transport http.RoundTripper, req *http.Request) (*http.Response, error) {
	client := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Host != req.URL.Host || next.URL.Scheme != req.URL.Scheme || len(via) > maxTokenRedirects {
			return errors.New("the token server redirects to another address")
		}
		return nil
	}}
	return client.Do(req)
}

// ReadToken reads a token server's answer. No error shows any of it.
func ReadToken(body io.Reader) (value string, lifetime time.Duration, err error) {
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	text, err := io.ReadAll(io.LimitReader(body, maxToken+1))
	switch {
	case err != nil:
		return "", 0, err
	case len(text) > maxToken:
		return "", 0, fmt.Errorf("the answer is larger than %d bytes", maxToken)
	case json.Unmarshal(text, &answer) != nil:
		return "", 0, errors.New("the answer is no JSON") // the parser's text may quote the token
	}
	if value = answer.Token; value == "" {
		value = answer.AccessToken
	}
	if value == "" {
		return "", 0, errors.New("the answer has no token")
	}
	lifetime = time.Duration(min(answer.ExpiresIn, 24*60*60)) * time.Second
	if lifetime <= 0 {
		lifetime = defaultLifetime
	}
	return value, lifetime, nil
}
