package registry

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/imagewright/imagewright/internal/registry/auth"
)

// session is what a client has learned about one registry.
type session struct {
	client *Client
	host   string

	greeting chan struct{} // held while the registry is asked for its challenge

	mu        sync.Mutex
	protocol  string // "http" or "https", once greeted
	challenge challenge
	tokens    map[string]*token // by scope
	scopes    map[string]int    // by the scopes to choose from: the one that was not refused
	secrets   []string          // what no error may show, should the registry send it back
}

func (c *Client) session(host string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[host]
	if !ok {
		s = &session{client: c, host: host, greeting: make(chan struct{}, 1), tokens: map[string]*token{}, scopes: map[string]int{}}
		c.sessions[host] = s
	}
	return s
}

// hello asks the registry once how it wants to be spoken to.
func (s *session) hello(ctx context.Context) error {
	select {
	case s.greeting <- struct{}{}:
		defer func() { <-s.greeting }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.scheme() != "" {
		return nil
	}
	protocol := "https"
	if s.client.plain.Has(s.host) {
		protocol = "http"
	}
	resp, err := s.ping(ctx, protocol)
	if auth.IsLoopback(s.host) && speaksTLS(resp, err) {
		if resp != nil {
			discard(resp)
		}
		protocol = "https"
		resp, err = s.ping(ctx, protocol)
	}
	if err != nil {
		return err
	}
	defer discard(resp)
	if passingStatus(resp.StatusCode) { // still, after all tries
		return s.client.answerError(resp)
	}
	s.learn(resp)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.protocol = protocol
	return nil
}

func (s *session) ping(ctx context.Context, protocol string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, protocol+"://"+s.host+"/v2/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.direct.RoundTrip(req)
	if err != nil {
		return nil, s.client.transportError(req, err)
	}
	return resp, nil
}

// speaksTLS recognises a server that wants TLS by its answer to a request
// without: Go's and nginx's say 400.
func speaksTLS(resp *http.Response, err error) bool {
	if err != nil {
		return strings.Contains(err.Error(), "malformed HTTP")
	}
	return resp.StatusCode == http.StatusBadRequest
}

// scheme is "" as long as the registry has not answered.
func (s *session) scheme() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.protocol
}

func (s *session) bearer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.challenge.scheme == "bearer"
}

// settled returns where to begin in a list of scopes, and settle remembers it:
// what was refused once is not asked for with every request.
func (s *session) settled(scopes []string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scopes[strings.Join(scopes, " ")]
}

func (s *session) settle(scopes []string, i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes[strings.Join(scopes, " ")] = i
}

// learn keeps the challenge of a 401 and says whether it was news.
func (s *session) learn(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	heard := pickChallenge(resp.Header.Values("WWW-Authenticate"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if heard == s.challenge {
		return false
	}
	s.challenge = heard
	return true
}

// authorization is the Authorization header for a request, and whether it
// comes from the cache.
type authorization struct {
	header string
	cached bool
}

// authorization returns the credentials for a request of t. stale is the
// header that the registry has just refused, or "".
func (s *session) authorization(ctx context.Context, t target, scope, stale string) (authorization, error) {
	s.mu.Lock()
	ch := s.challenge
	s.mu.Unlock()
	if ch.scheme == "" {
		return authorization{}, nil
	}
	credentials, err := s.credentials(ctx, t)
	if err != nil {
		return authorization{}, err
	}
	switch {
	case credentials.RegistryToken != "":
		return authorization{header: "Bearer " + credentials.RegistryToken}, nil
	case ch.scheme == "bearer":
		return s.bearerToken(ctx, ch, credentials, scope, stale)
	case ch.scheme == "basic" && credentials.Username != "" && credentials.Password != "":
		return authorization{header: auth.BasicHeader(credentials)}, nil
	}
	return authorization{}, nil
}

func (s *session) credentials(ctx context.Context, t target) (*authn.AuthConfig, error) {
	a, err := authn.Resolve(ctx, s.client.keychain, t.repo)
	if err != nil {
		return nil, &Error{Registry: s.host, cause: err, hint: "check the registry credentials on this machine (DOCKER_CONFIG, credential helpers)"}
	}
	credentials, err := authn.Authorization(ctx, a)
	if err != nil {
		return nil, &Error{Registry: s.host, cause: err}
	}
	s.hide(credentials.Password, credentials.IdentityToken, credentials.RegistryToken, credentials.Auth)
	return credentials, nil
}

// anonymous says whether there are no credentials for t.
func (s *session) anonymous(t target) bool {
	a, err := authn.Resolve(context.Background(), s.client.keychain, t.repo)
	return err == nil && a == authn.Anonymous
}

// hide remembers secrets that errors must not show.
func (s *session) hide(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range secrets {
		// Shorter ones would make holes in every word.
		if len(secret) >= 4 && !slices.Contains(s.secrets, secret) {
			s.secrets = append(s.secrets, secret)
		}
	}
}

// scrub takes the secrets of every session out of text, which a registry wrote.
func (c *Client) scrub(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		s.mu.Lock()
		for _, secret := range s.secrets {
			text = strings.ReplaceAll(text, secret, "***")
		}
		s.mu.Unlock()
	}
	return text
}

// token is a bearer token of one scope. Its lock is a channel so that waiting
// for somebody else's request to the token server can be cancelled.
type token struct {
	lock    chan struct{}
	value   string
	renewAt time.Time
}

// bearerToken returns the token of scope: the one there is, unless it is the
// stale one or near its end.
func (s *session) bearerToken(ctx context.Context, ch challenge, credentials *authn.AuthConfig, scope, stale string) (authorization, error) {
	s.mu.Lock()
	t, ok := s.tokens[scope]
	if !ok {
		t = &token{lock: make(chan struct{}, 1)}
		s.tokens[scope] = t
	}
	s.mu.Unlock()

	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return authorization{}, context.Cause(ctx)
	}
	if header := "Bearer " + t.value; t.value != "" && header != stale && s.client.now().Before(t.renewAt) {
		return authorization{header: header, cached: true}, nil
	}
	value, lifetime, err := s.fetchToken(ctx, ch, credentials, scope)
	if err != nil {
		return authorization{}, err
	}
	s.hide(value)
	// At 80 % of its life: a request that takes a while still arrives in time.
	t.value, t.renewAt = value, s.client.now().Add(lifetime*8/10)
	return authorization{header: "Bearer " + value}, nil
}
