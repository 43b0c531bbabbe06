package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

func descriptor(b bytesBlob) v1.Descriptor { return v1.Descriptor{Digest: b.digest, Size: b.size} }

func TestADigestThatIsALieIsAnError(t *testing.T) {
	wrong := sum([]byte("something else")).String()
	raw := []byte(`{"schemaVersion":2}`)
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Content-Digest", wrong)
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		switch r.Method {
		case http.MethodPut:
			w.WriteHeader(http.StatusCreated)
		case http.MethodHead:
			w.Header().Set("Content-Length", "19")
		default:
			w.Write(raw)
		}
	})
	c, _ := newClient(t, Options{})
	repo := repository(t, c, s.Host+"/app")
	digest := repo.Digest(sum(raw).String())
	ctx := t.Context()
	if _, err := c.Head(ctx, digest); err == nil || !strings.Contains(err.Error(), wrong) {
		t.Errorf("Head: %v; want an error that names the wrong digest", err)
	}
	if _, err := c.Manifest(ctx, repo.Tag("v1")); err == nil || !strings.Contains(err.Error(), wrong) {
		t.Errorf("Manifest by tag: %v; want an error that names the wrong digest", err)
	}
	if _, err := c.Manifest(ctx, repo.Digest(wrong)); err == nil {
		t.Error("Manifest by digest: content with another digest was accepted")
	}
	if err := c.PutManifest(ctx, repo.Tag("v1"), string(types.OCIManifestSchema1), raw); err == nil || !strings.Contains(err.Error(), wrong) {
		t.Errorf("PutManifest: %v; want an error that names the wrong digest", err)
	}
}

func TestABlobOfLessThanNothingIsRefused(t *testing.T) {
	s := registrytest.Fake(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") })
	c, _ := newClient(t, Options{})
	d := v1.Descriptor{Digest: sum([]byte("content")), Size: -1}
	if r, err := c.Blob(t.Context(), repository(t, c, s.Host+"/app"), d); err == nil {
		defer r.Close()
		if _, err = io.ReadAll(r); err == nil {
			t.Error("a manifest says that its blob has -1 bytes, and it is read")
		}
	}
}

func TestAManifestTooLargeIsNotRead(t *testing.T) {
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
		io.CopyN(w, zeros{}, MaxManifest+10)
	})
	c, _ := newClient(t, Options{})
	if _, err := c.Manifest(t.Context(), repository(t, c, s.Host+"/app").Tag("v1")); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error %v; want one about the size", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestABlobThatIsNotWhatItShouldBeIsAnErrorAtItsEnd(t *testing.T) {
	for _, answer := range []string{"hellO", "hell"} {
		s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) })
		c, _ := newClient(t, Options{})
		r, err := c.Blob(t.Context(), repository(t, c, s.Host+"/app"), descriptor(newBlob("hello")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err == nil {
			t.Errorf("%q was taken for hello", answer)
		}
		r.Close()
	}
}

func TestADamagedBlobNeverArrivesWhole(t *testing.T) {
	for _, tc := range []struct{ name, content string }{
		{"changed", strings.Repeat("x", 100_000)},
		{"cut", strings.Repeat("a", 50_000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := registrytest.Start(t)
			c, clock := newClient(t, Options{})
			repo := repository(t, c, s.Host+"/app")
			blob := newBlob(strings.Repeat("a", 100_000))
			blob.content = []byte(tc.content)
			_, err := c.PutBlob(t.Context(), repo, blob)
			if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), blob.digest.String()) {
				t.Errorf("error %v; want one that names the blob and says it is damaged", err)
			}
			if len(clock.slept) > 0 {
				t.Errorf("a damaged blob was tried again after %v", clock.slept)
			}
			last := s.Requests()[len(s.Requests())-1]
			if last.Method != http.MethodDelete || !strings.Contains(last.Path, "/uploads/") {
				t.Errorf("last request %s; want the upload to be given up", last)
			}
		})
	}
}

func TestAnUploadThatBrokeOffBeginsAnew(t *testing.T) {
	for _, tc := range []struct {
		name   string
		spoil  func(http.ResponseWriter)
		status int
	}{
		{"the connection breaks", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 0},
		{"the session is lost", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, 0},
		{"the gateway gives up", func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := registrytest.Start(t)
			var once atomic.Bool
			s.Before(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || !once.CompareAndSwap(false, true) {
					return false
				}
				io.CopyN(io.Discard, r.Body, 10)
				tc.spoil(w)
				return true
			})
			c, _ := newClient(t, Options{})
			content := strings.Repeat("a", 100_000)
			sent, err := c.PutBlob(t.Context(), repository(t, c, s.Host+"/app"), newBlob(content))
			if err != nil || sent != int64(len(content)) {
				t.Fatalf("sent %d, %v", sent, err)
			}
			var methods []string
			for _, r := range s.Requests() {
				methods = append(methods, r.Method)
			}
			if got, want := strings.Join(methods, " "), "HEAD POST PUT HEAD POST PUT"; got != want {
				t.Errorf("requests %s, want %s", got, want)
			}
		})
	}
}

func TestAnUploadThatTheRegistryKeepsRefusingEnds(t *testing.T) {
	s := registrytest.Start(t)
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	})
	c, clock := newClient(t, Options{})
	_, err := c.PutBlob(t.Context(), repository(t, c, s.Host+"/app"), newBlob("hello"))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != http.StatusRequestEntityTooLarge || e.Hint() == "" || len(clock.slept) > 0 {
		t.Errorf("error %v after %v; want 413 with a hint at once", err, clock.slept)
	}
}

func TestWhatDeletingAnswersIsToldApart(t *testing.T) {
	for _, tc := range []struct {
		name                                string
		status                              int
		code                                string
		unsupported, unauthorized, notFound bool
	}{
		{"deletion is off", 405, "UNSUPPORTED", true, false, false},
		{"distribution 2 takes a tag for a digest", 400, "DIGEST_INVALID", true, false, false},
		{"zot protects a part of an index", 405, "DENIED", false, false, false},
		{"Docker Hub protects what has a tag", 403, "DENIED", false, true, false},
		{"gone already", 404, "MANIFEST_UNKNOWN", false, false, true},
	} {
		s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tc.status)
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, tc.code)
		})
		c, _ := newClient(t, Options{})
		tag, err := name.NewTag(s.Host + "/app:v1")
		if err != nil {
			t.Fatal(err)
		}
		err = c.DeleteTag(t.Context(), tag)
		if IsUnsupported(err) != tc.unsupported || IsUnauthorized(err) != tc.unauthorized || IsNotFound(err) != tc.notFound || !HasCode(err, tc.code) {
			t.Errorf("%s: %v: unsupported %v, unauthorized %v, not found %v", tc.name, err, IsUnsupported(err), IsUnauthorized(err), IsNotFound(err))
		}
	}
}
