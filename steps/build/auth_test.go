package build

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	sessionauth "github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// keys is a keychain of one login for one registry.
type keys struct {
	registry string
	login    authn.AuthConfig
}

func (k keys) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != k.registry {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(k.login), nil
}

// tokenService answers as an authorization service does; it knows user and
// password.
// https://distribution.github.io/distribution/spec/auth/token/
func tokenService(t *testing.T, asked *[]string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.FormValue("service")+" "+strings.Join(r.Form["scope"], ","))
		user, password, basic := r.BasicAuth()
		if r.Method == http.MethodPost {
			user, password, basic = r.FormValue("username"), r.FormValue("refresh_token")+r.FormValue("password"), true
		}
		if basic && password != "secret" {
			http.Error(w, "stranger's text", http.StatusUnauthorized)
			return
		}
		if !basic {
			user = "anonymous"
		}
		json.NewEncoder(w).Encode(map[string]any{"token": "token of " + user, "access_token": "token of " + user, "expires_in": 300})
	}))
	t.Cleanup(s.Close)
	return s
}

func TestTokensAreFetchedHere(t *testing.T) {
	for _, tc := range []struct {
		name  string
		keys  keys
		want  string
		life  int64 // seconds, 0 for the engine's own idea
		asked string
	}{
		{"user and password", keys{"127.0.0.1:5000", authn.AuthConfig{Username: "me", Password: "secret"}}, "token of me", 300, "GET service repository:app:pull"},
		{"identity token", keys{"127.0.0.1:5000", authn.AuthConfig{IdentityToken: "secret"}}, "token of ", 300, "POST service repository:app:pull"},
		{"bearer token", keys{"127.0.0.1:5000", authn.AuthConfig{RegistryToken: "mine"}}, "mine", 0, ""},
		{"nobody", keys{}, "token of anonymous", 300, "GET service repository:app:pull"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked []string
			service := tokenService(t, &asked)
			c := newCredentials(tc.keys, nil, http.DefaultTransport)
			got, err := c.FetchToken(t.Context(), &sessionauth.FetchTokenRequest{
				Host: "127.0.0.1:5000", Realm: service.URL, Service: "service", Scopes: []string{"repository:app:pull"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Token != tc.want || got.ExpiresIn != tc.life {
				t.Errorf("token is %q for %d s, want %q for %d s", got.Token, got.ExpiresIn, tc.want, tc.life)
			}
			if s := strings.Join(asked, ";"); s != tc.asked {
				t.Errorf("the service was asked %q, want %q", s, tc.asked)
			}
		})
	}
}

func TestRefusedTokenNamesTheRegistryAlone(t *testing.T) {
	var asked []string
	service := tokenService(t, &asked)
	c := newCredentials(keys{"127.0.0.1:5000", authn.AuthConfig{Username: "me", Password: "wr0ng"}}, nil, http.DefaultTransport)
	_, err := c.FetchToken(t.Context(), &sessionauth.FetchTokenRequest{Host: "127.0.0.1:5000", Realm: service.URL})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "127.0.0.1:5000") {
		t.Errorf("error %v, want Unauthenticated and the registry's name", err)
	}
	if strings.Contains(err.Error(), "stranger") || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("error shows what it should not: %v", err)
	}
}

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNobodyButTheTokenServerHearsThePassword(t *testing.T) {
	for _, tc := range []struct {
		name, host, realm string
		plain             []string
		asked             bool
	}{
		{"over TLS", "registry.example.org", "https://auth.example.org/token", nil, true},
		{"in clear text", "registry.example.org", "http://auth.example.org/token", nil, false},
		{"in clear text where only the registry is trusted so", "registry.example.org:5000", "http://auth.example.org/token", []string{"registry.example.org:5000"}, false},
		{"in clear text where both are", "registry.example.org:5000", "http://auth.example.org/token", []string{"registry.example.org", "auth.example.org"}, true},
		{"a machine's metadata service", "registry.example.org", "https://169.254.169.254/token", nil, false},
		{"no address", "registry.example.org", "file:///etc/passwd", nil, false},
	} {
		var asked []string
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.Host)
			return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"https://sub." + r.URL.Host}}, Body: http.NoBody, Request: r}, nil
		})
		for _, login := range []authn.AuthConfig{{Username: "me", Password: "s3cr3t"}, {IdentityToken: "s3cr3t"}, {}} {
			asked = nil
			c := newCredentials(keys{tc.host, login}, tc.plain, transport)
			_, err := c.FetchToken(t.Context(), &sessionauth.FetchTokenRequest{Host: tc.host, Realm: tc.realm})
			if err == nil || (len(asked) == 1) != tc.asked || len(asked) > 1 {
				t.Errorf("%s: asked %q, error %v; want the realm asked = %v, and no redirect followed", tc.name, asked, err, tc.asked)
			}
			if strings.Contains(fmt.Sprint(err), "s3cr3t") {
				t.Errorf("%s: error shows the password: %v", tc.name, err)
			}
		}
	}
}

func TestDockerHubGoesByItsOldName(t *testing.T) {
	c := newCredentials(keys{"index.docker.io", authn.AuthConfig{Username: "me", Password: "secret"}}, nil, nil)
	got, err := c.Credentials(t.Context(), &sessionauth.CredentialsRequest{Host: hubHost})
	if err != nil || got.Username != "me" || got.Secret != "secret" {
		t.Errorf("credentials are %v, %v; want me and secret", got, err)
	}
}

func TestAuthorityIsProvedByItsKey(t *testing.T) {
	c, other := newCredentials(nil, nil, nil), newCredentials(nil, nil, nil)
	authority, err := c.GetTokenAuthority(t.Context(), &sessionauth.GetTokenAuthorityRequest{Host: "r", Salt: []byte("salt")})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(c *credentials, host string) bool {
		answer, err := c.VerifyTokenAuthority(t.Context(), &sessionauth.VerifyTokenAuthorityRequest{Host: host, Salt: []byte("salt"), Payload: []byte("question")})
		if err != nil {
			t.Fatal(err)
		}
		key := [32]byte(authority.PublicKey)
		_, ok := sign.Open(nil, answer.Signed, &key)
		return ok
	}
	if !verify(c, "r") {
		t.Error("a session's own proof does not count")
	}
	if verify(other, "r") || verify(c, "other") {
		t.Error("another session, or another registry, proves the same")
	}
}
