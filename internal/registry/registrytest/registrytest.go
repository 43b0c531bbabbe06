// Package registrytest runs the handlers of CNCF Distribution, a real registry,
// inside a test, and lets the test see and spoil its requests. Tests that need
// a registry process of its own use test/registry.
package registrytest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // how StartPrivate checks passwords
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // where it keeps things
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// Request is one that a server has seen.
type Request struct {
	Method        string
	Path          string
	Query         string
	Authorization string
}

func (r Request) String() string { return r.Method + " " + r.Path }

// Server is a registry on a loopback port. It ends with the test.
type Server struct {
	*httptest.Server
	// Host is host:port, as references name it.
	Host string

	mu       sync.Mutex
	requests []Request
	before   func(http.ResponseWriter, *http.Request) bool
}

// Start runs a registry that is empty, lets everyone in, and deletes.
func Start(t *testing.T) *Server {
	t.Helper()
	return serve(t, distribution(t, nil), (*httptest.Server).Start)
}

// StartPrivate runs one in which a user has to log in, with a password.
func StartPrivate(t *testing.T, username, password string) *Server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, fmt.Appendf(nil, "%s:%s\n", username, hash), 0o600); err != nil {
		t.Fatal(err)
	}
	auth := configuration.Auth{"htpasswd": {"realm": "test", "path": users}}
	return serve(t, distribution(t, auth), (*httptest.Server).Start)
}

// StartTLS runs one behind a certificate that nobody knows.
func StartTLS(t *testing.T) *Server {
	t.Helper()
	return serve(t, distribution(t, nil), (*httptest.Server).StartTLS)
}

// Fake runs handler in the place of a registry, for answers that Distribution
// never gives. Its /v2/ answers 200 by itself.
func Fake(t *testing.T, handler http.HandlerFunc) *Server {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			handler(w, r)
		}
	}), (*httptest.Server).Start)
}

func serve(t *testing.T, handler http.Handler, start func(*httptest.Server)) *Server {
	s := &Server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization")})
		before := s.before
		s.mu.Unlock()
		if before == nil || !before(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // tests break connections on purpose
	start(s.Server)
	s.Host = s.Listener.Addr().String()
	t.Cleanup(s.Close)
	return s
}

// distribution is configured by hand: its parser would read REGISTRY_… from
// the environment.
func distribution(t *testing.T, auth configuration.Auth) http.Handler {
	config := &configuration.Configuration{
		Auth: auth,
		Storage: configuration.Storage{
			"inmemory": configuration.Parameters{},
			"delete":   configuration.Parameters{"enabled": true},
		},
	}
	logrus.SetOutput(io.Discard) // its log goes by no configuration before it is started as a program
	config.Log.AccessLog.Disabled = true
	config.Catalog.MaxEntries = 1000
	config.HTTP.Secret = "no secret: a registry of one test"
	return handlers.NewApp(t.Context(), config)
}

// Before sets what is called before the registry; it returns true when it has
// answered in its place.
func (s *Server) Before(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Requests returns those seen so far, but the greeting /v2/.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.requests), func(r Request) bool { return r.Path == "/v2/" })
}

// Forget empties the list of requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Tokens is a token service. It gives a new token for each request, to everyone
// who has the password, if it has one; only the newest of a scope is good.
type Tokens struct {
	*httptest.Server
	Username, Password string
	// Realm is where the registry sends those without a token; empty means here.
	Realm string
	// Lifetime is expires_in; 0 leaves it out.
	Lifetime int
	// Refuse says which scopes are refused.
	Refuse func(scope string) bool

	mu     sync.Mutex
	count  int
	scopes []string
	good   map[string]bool // token → still good
}

// RequireTokens lets in only requests with a token of a new service.
func (s *Server) RequireTokens(t *testing.T) *Tokens {
	t.Helper()
	k := &Tokens{good: map[string]bool{}}
	k.Server = httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(k.Close)
	s.Before(k.check)
	return k
}

func (k *Tokens) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if u, p, _ := r.BasicAuth(); u != k.Username || p != k.Password {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`)
		return
	}
	scope := strings.Join(r.URL.Query()["scope"], " ")
	k.scopes = append(k.scopes, scope)
	if k.Refuse != nil && k.Refuse(scope) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	k.count++
	token := fmt.Sprintf("token-%d", k.count)
	k.good[token] = true
	answer := map[string]any{"token": token}
	if k.Lifetime > 0 {
		answer["expires_in"] = k.Lifetime
	}
	json.NewEncoder(w).Encode(answer)
}

// check is a registry's: 401 with a challenge, unless there is a good token.
func (k *Tokens) check(w http.ResponseWriter, r *http.Request) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.good[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
		return false
	}
	k.challenge(w)
	return true
}

func (k *Tokens) challenge(w http.ResponseWriter) {
	realm := cmp.Or(k.Realm, k.URL+"/token")
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="test"`, realm))
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
}

// Check is what [Server.RequireTokens] puts before the registry, for tests that
// put more there.
func (k *Tokens) Check(w http.ResponseWriter, r *http.Request) bool { return k.check(w, r) }

// Revoke makes all tokens bad that were given so far.
func (k *Tokens) Revoke() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.good)
}

// Scopes returns what tokens were asked for, in order.
func (k *Tokens) Scopes() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.scopes)
}
