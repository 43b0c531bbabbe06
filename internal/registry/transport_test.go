package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	var got http.Header
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		io.WriteString(w, "hello")
	}))
	defer storage.Close()
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, storage.URL+"/v2/app/blobs/x?signature=abc", http.StatusTemporaryRedirect)
	})
	c, _ := newClient(t, Options{Keychain: password{"ci", "secret"}})
	blob := newBlob("hello")
	r, err := c.Blob(t.Context(), repository(t, c, s.Host+"/app"), descriptor(blob))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	if got.Get("Authorization") != "" {
		t.Errorf("the other host was told %q", got.Get("Authorization"))
	}
	if got.Get("User-Agent") != "imagewright" {
		t.Errorf("User-Agent %q", got.Get("User-Agent"))
	}
}

func TestAddressesThatARegistryMayNotSendUsTo(t *testing.T) {
	c, _ := newClient(t, Options{})
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"ghcr.io", "https://pkg-containers.githubusercontent.com/x", true},
		{"ghcr.io", "http://pkg-containers.githubusercontent.com/x", false},
		{"ghcr.io", "https://169.254.169.254/latest/meta-data", false},
		{"ghcr.io", "http://127.0.0.1:2375/containers", false},
		{"ghcr.io", "https://192.168.1.1/", false},
		{"ghcr.io", "file:///etc/shadow", false},
		{"registry.lan", "https://minio.lan/x", true},
		{"registry.lan", "http://registry.lan/v2/app/blobs/uploads/x", true}, // it does not know of its TLS
		{"127.0.0.1:5000", "http://127.0.0.1:9000/x", true},
		{"10.1.1.1:5000", "https://10.1.1.2/x", true},
	} {
		req, err := http.NewRequest(http.MethodGet, tc.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.checkAddress(tc.from, req.URL); (err == nil) != tc.want {
			t.Errorf("%s sends us to %s: %v; allowed should be %v", tc.from, tc.to, err, tc.want)
		}
	}
}

func TestAnErrorBehindARedirectDoesNotShowTheSignedAddress(t *testing.T) {
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	defer storage.Close()
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, storage.URL+"/secret-path?signature=canary", http.StatusFound)
	})
	c, _ := newClient(t, Options{})
	_, err := c.Blob(t.Context(), repository(t, c, s.Host+"/app"), descriptor(newBlob("x")))
	if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("error %v; want none of the signed address in it", err)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header string
		want   time.Duration
	}{
		{"seconds", "7", 7 * time.Second},
		{"a date", "Fri, 02 Jan 2026 03:05:05 GMT", time.Minute},
		{"a date that is over", "Fri, 02 Jan 2026 03:00:00 GMT", 0},
		{"nonsense is our own wait", "soon", time.Second},
		{"nothing is our own wait", "", time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var count atomic.Int32
			s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
				if count.Add(1) == 1 {
					w.Header().Set("Retry-After", tc.header)
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				w.WriteHeader(http.StatusNotFound)
			})
			c, clock := newClient(t, Options{})
			_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
			if !IsNotFound(err) {
				t.Fatalf("error %v; want the second answer", err)
			}
			if len(clock.slept) != 1 || clock.slept[0] != tc.want {
				t.Errorf("slept %v, want %v", clock.slept, tc.want)
			}
		})
	}
}

func TestARegistryThatAsksForHoursIsAnErrorAtOnce(t *testing.T) {
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "21600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c, clock := newClient(t, Options{})
	_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	if Status(err) != http.StatusTooManyRequests || len(clock.slept) != 0 {
		t.Errorf("error %v after sleeping %v; want 429 at once", err, clock.slept)
	}
}

func TestWaitsDoubleUpToAMinuteAndEnd(t *testing.T) {
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c, clock := newClient(t, Options{})
	_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	if Status(err) != http.StatusServiceUnavailable {
		t.Errorf("error %v; want 503", err)
	}
	var want []time.Duration
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60} {
		want = append(want, time.Duration(seconds)*time.Second)
	}
	if !slices.Equal(clock.slept, want) {
		t.Errorf("slept %v, want %v", clock.slept, want)
	}
}

func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	s := registrytest.Start(t)
	var count atomic.Int32
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if count.Add(1) <= 2 {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	c, _ := newClient(t, Options{})
	if _, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1")); !IsNotFound(err) {
		t.Errorf("error %v; want the registry's own answer after two broken connections", err)
	}
}

func TestCancellingEndsTheWaitForARetry(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	c, err := New(Options{}) // with the real clock
	if err != nil {
		t.Fatal(err)
	}
	real := c.retry.sleep
	c.retry.sleep = func(ctx context.Context, d time.Duration) error {
		cancel()
		return real(ctx, time.Hour)
	}
	if _, err := c.Head(ctx, repository(t, c, s.Host+"/app").Tag("v1")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want cancelled", err)
	}
}
