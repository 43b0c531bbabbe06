package registry

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

func TestATokenThatExpiresDuringAnUploadIsRenewedAndTheBodySentAgain(t *testing.T) {
	for _, reads := range []bool{true, false} {
		s := registrytest.Start(t)
		tokens := s.RequireTokens(t)
		var once atomic.Bool
		s.Before(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && once.CompareAndSwap(false, true) {
				tokens.Revoke()
				if reads {
					io.Copy(io.Discard, r.Body)
				}
			}
			return tokens.Check(w, r)
		})
		c, _ := newClient(t, Options{Access: Push})
		content := strings.Repeat("0123456789abcdef", 1<<16)
		sent, err := c.PutBlob(t.Context(), repository(t, c, s.Host+"/app"), newBlob(content))
		if err != nil || sent != int64(len(content)) {
			t.Errorf("registry reads the refused body %v: sent %d, %v", reads, sent, err)
		}
		if got := tokens.Scopes(); len(got) < 2 {
			t.Errorf("registry reads the refused body %v: tokens %v; want a second one", reads, got)
		}
	}
}

func TestOneTokenServesARepositoryUntilFourFifthsOfItsLife(t *testing.T) {
	s := registrytest.Start(t)
	tokens := s.RequireTokens(t)
	tokens.Lifetime = 100
	c, clock := newClient(t, Options{Access: Push})
	repo := repository(t, c, s.Host+"/app")
	look := func() {
		t.Helper()
		if _, err := c.Head(t.Context(), repo.Tag("v1")); !IsNotFound(err) {
			t.Fatal(err)
		}
	}
	look()
	clock.sleep(t.Context(), 79*time.Second)
	look()
	if got := tokens.Scopes(); !slices.Equal(got, []string{"repository:app:pull,push"}) {
		t.Fatalf("within 79 s: asked for %v; want one token to pull and push", got)
	}
	clock.sleep(t.Context(), 2*time.Second)
	look()
	if got := tokens.Scopes(); len(got) != 2 {
		t.Errorf("after 81 s of 100: %d tokens; want a new one", len(got))
	}
	for _, r := range s.Requests()[3:] {
		if r.Authorization == "" {
			t.Errorf("%s was sent without the token there was", r)
		}
	}
}

func TestATokenServerThatRefusesDeleteIsAskedForLess(t *testing.T) {
	s := registrytest.Start(t)
	open, _ := newClient(t, Options{})
	putImage(t, open, repository(t, open, s.Host+"/app"), "v1")
	tokens := s.RequireTokens(t)
	tokens.Refuse = func(scope string) bool { return strings.Contains(scope, "delete") || strings.Contains(scope, "*") }
	c, _ := newClient(t, Options{Access: Delete})
	if err := c.DeleteTag(t.Context(), repository(t, c, s.Host+"/app").Tag("v1")); err != nil {
		t.Fatal(err)
	}
	want := []string{"repository:app:delete,pull,push", "repository:app:*", "repository:app:pull,push"}
	if got := tokens.Scopes(); !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
}

func TestARepositoryThatCanOnlyBeReadIsReadByAClientThatWritesElsewhere(t *testing.T) {
	s := registrytest.Start(t)
	open, _ := newClient(t, Options{})
	putImage(t, open, repository(t, open, s.Host+"/base"), "v1")
	tokens := s.RequireTokens(t)
	tokens.Refuse = func(scope string) bool { return strings.Contains(scope, "push") }
	c, _ := newClient(t, Options{Access: Push})
	for range 3 {
		if _, err := c.Head(t.Context(), repository(t, c, s.Host+"/base").Tag("v1")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"repository:base:pull,push", "repository:base:pull"}
	if got := tokens.Scopes(); !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v and no more", got, want)
	}
}

func TestAWrongPasswordIsOneClearErrorWithoutIt(t *testing.T) {
	const canary = "canary-7f3a"
	s := registrytest.Start(t)
	tokens := s.RequireTokens(t)
	tokens.Username, tokens.Password = "ci", "right"
	c, _ := newClient(t, Options{Keychain: password{"ci", canary}})
	_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	e, ok := errors.AsType[*Error](err)
	if !ok || !IsUnauthorized(err) || IsNotFound(err) {
		t.Fatalf("error %v; want unauthorized", err)
	}
	if !strings.Contains(e.Hint(), "username and password") || !strings.Contains(e.Hint(), s.Host) {
		t.Errorf("hint %q; want to know what to set, and for whom", e.Hint())
	}
	if strings.Contains(e.Error()+e.Hint(), canary) {
		t.Errorf("the password is in %q; %q", e.Error(), e.Hint())
	}
}

func TestARegistryThatSaysOurSecretsBackDoesNotGetThemIntoErrors(t *testing.T) {
	const canary = "canary-7f3a"
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		if user, pass, ok := r.BasicAuth(); ok {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors":[{"code":"DENIED","message":"`+user+":"+pass+` \u001b[31m"}]}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	c, _ := newClient(t, Options{Keychain: password{"ci", canary}})
	_, err := c.Manifest(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	if err == nil || !strings.Contains(err.Error(), "DENIED") {
		t.Fatalf("error %v; want the registry's DENIED", err)
	}
	if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("error %q has the password or an escape sequence in it", err)
	}
}

func TestTokenServersThatMayHearThePassword(t *testing.T) {
	for _, tc := range []struct {
		registry, realm string
		want            bool
	}{
		{"registry.example.com", "https://auth.example.com/token", true},
		{"registry.example.com", "http://auth.example.com/token", false},
		{"registry.example.com", "http://registry.example.com/token", false},
		{"registry.example.com", "https://10.0.0.5/token", false},
		{"registry.example.com", "https://169.254.169.254/latest", false},
		{"registry.example.com", "http://127.0.0.1:1/token", false},
		{"registry.example.com", "https://localhost/token", false},
		{"registry.example.com", "https://[::ffff:10.0.0.5]/token", false},
		{"registry.example.com", "https://user:pw@auth.example.com/token", false},
		{"registry.example.com", "file:///etc/passwd", false},
		{"registry.example.com", "", false},
		{"10.0.0.4:5000", "https://10.0.0.5/token", true},
		{"10.0.0.4:5000", "http://10.0.0.5/token", false},
		{"plain.lan", "http://plain.lan:5001/token", true},
		{"plain.lan", "http://other.lan/token", false},
		{"localhost:5000", "http://127.0.0.1:5001/token", true},
		{"127.0.0.1:5000", "http://localhost:5001/token", true},
		{"127.0.0.1:5000", "http://auth.example.com/token", false},
		{"127.0.0.1:5000", "http://169.254.169.254/", false},
	} {
		c, _ := newClient(t, Options{PlainHTTP: []string{"plain.lan"}})
		s := c.session(tc.registry)
		_, err := s.realm(challenge{scheme: "bearer", realm: tc.realm})
		if (err == nil) != tc.want {
			t.Errorf("registry %s, realm %q: %v; allowed should be %v", tc.registry, tc.realm, err, tc.want)
		}
	}
}

func TestARefusedTokenServerHearsNothing(t *testing.T) {
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://10.255.255.1/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	c, _ := newClient(t, Options{Keychain: password{"ci", "secret"}, PlainHTTP: []string{"registry.lan"}})
	_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	if err == nil || !strings.Contains(err.Error(), "10.255.255.1") || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("error %v; want one that names the token server and why it is refused", err)
	}
}

func TestChallengesAreReadAsTheyAreWritten(t *testing.T) {
	for _, tc := range []struct {
		header []string
		want   challenge
	}{
		{[]string{`Bearer realm="https://a/t",service="s"`}, challenge{scheme: "bearer", realm: "https://a/t", service: "s"}},
		{[]string{`bearer realm=https://a/t , scope="x y"`}, challenge{scheme: "bearer", realm: "https://a/t", scope: "x y"}},
		{[]string{`Bearer realm="a \"quoted\", b",service="s"`}, challenge{scheme: "bearer", realm: `a "quoted", b`, service: "s"}},
		{[]string{`Negotiate, Basic realm="r"`}, challenge{scheme: "basic", realm: "r"}},
		{[]string{`Negotiate`, `Basic realm="r"`}, challenge{scheme: "basic", realm: "r"}},
		{[]string{`Negotiate`}, challenge{scheme: "negotiate"}},
		{nil, challenge{scheme: "basic"}},
		{[]string{`Bearer realm="never ends`}, challenge{scheme: "bearer", realm: "never ends"}},
		{[]string{`=,"`}, challenge{scheme: "basic"}},
	} {
		if got := pickChallenge(tc.header); got != tc.want {
			t.Errorf("%q: %+v, want %+v", tc.header, got, tc.want)
		}
	}
}
