package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

// clock is a clock that only sleeping moves.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

// newClient returns a client that never really sleeps, and its clock.
func newClient(t *testing.T, o Options) (*Client, *clock) {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	fake := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c.now, c.retry.now, c.retry.sleep = fake.now, fake.now, fake.sleep
	c.retry.random = func() float64 { return 1 }
	return c, fake
}

// password is a keychain with one login for everything.
type password struct{ username, password string }

func (p password) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: p.username, Password: p.password}), nil
}

func repository(t *testing.T, c *Client, s string) name.Repository {
	t.Helper()
	repo, err := c.Repository(s)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// bytesBlob is a Blob in memory. content may differ from what digest says.
type bytesBlob struct {
	digest  v1.Hash
	size    int64
	content []byte
}

func newBlob(content string) bytesBlob {
	return bytesBlob{sum([]byte(content)), int64(len(content)), []byte(content)}
}

func sum(b []byte) v1.Hash {
	h := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h[:])}
}

func (b bytesBlob) Digest() (v1.Hash, error) { return b.digest, nil }
func (b bytesBlob) Size() (int64, error)     { return b.size, nil }
func (b bytesBlob) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b.content)), nil
}

// putImage puts a small image under each tag, and returns its digest.
func putImage(t *testing.T, c *Client, repo name.Repository, tags ...string) v1.Hash {
	t.Helper()
	img, err := random.Image(300, 2)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if _, err := c.PutBlob(t.Context(), repo, l); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutBlob(t.Context(), repo, newBlob(string(config))); err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, err := img.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags {
		if err := c.PutManifest(t.Context(), repo.Tag(tag), string(mediaType), raw); err != nil {
			t.Fatal(err)
		}
	}
	return sum(raw)
}

func TestARealRegistryGivesBackWhatItGot(t *testing.T) {
	s := registrytest.Start(t)
	c, _ := newClient(t, Options{})
	repo := repository(t, c, s.Host+"/acme/app")
	ctx := t.Context()
	want := putImage(t, c, repo, "v1", "v2")

	head, err := c.Head(ctx, repo.Tag("v1"))
	if err != nil || head.Digest != want {
		t.Fatalf("Head(v1) = %v, %v; want %s", head.Digest, err, want)
	}
	m, err := c.Manifest(ctx, repo.Digest(want.String()))
	if err != nil || sum(m.Raw) != want || m.Descriptor.Size != head.Size || m.Descriptor.MediaType != head.MediaType {
		t.Errorf("Manifest = %+v, %v; want what Head said, %+v", m.Descriptor, err, head)
	}
	tags, err := c.Tags(ctx, repo)
	if err != nil || strings.Join(tags, " ") != "v1 v2" {
		t.Errorf("Tags = %v, %v", tags, err)
	}
	d, err := c.Descriptor(ctx, repo.Tag("v2"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := d.Image()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatalf("read a layer lazily: %v", err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("read a layer lazily: %v", err)
	}
	if err := c.DeleteTag(ctx, repo.Tag("v1")); err != nil {
		t.Errorf("DeleteTag: %v", err)
	}
	if _, err := c.Head(ctx, repo.Tag("v2")); err != nil {
		t.Errorf("after another tag was deleted, v2 is gone: %v", err)
	}
	if err := c.DeleteManifest(ctx, repo.Digest(want.String())); err != nil {
		t.Errorf("DeleteManifest: %v", err)
	}
	if _, err := c.Head(ctx, repo.Tag("v2")); !IsNotFound(err) {
		t.Errorf("Head after delete: %v; want not found", err)
	}
	if _, err := c.Tags(ctx, repository(t, c, s.Host+"/nobody")); !IsNotFound(err) {
		t.Errorf("Tags of an unknown repository: %v; want not found", err)
	}
}

func TestABlobTheRegistryHasIsNotSentAgain(t *testing.T) {
	s := registrytest.Start(t)
	c, _ := newClient(t, Options{})
	repo, blob := repository(t, c, s.Host+"/app"), newBlob("hello")
	for i, want := range []int64{5, 0} {
		if sent, err := c.PutBlob(t.Context(), repo, blob); err != nil || sent != want {
			t.Errorf("time %d: sent %d, %v; want %d", i+1, sent, err, want)
		}
	}
	r, err := c.Blob(t.Context(), repo, v1.Descriptor{Digest: blob.digest, Size: blob.size})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello" {
		t.Errorf("Blob = %q, %v", got, err)
	}
}

// shared is a blob that is in another repository.
type shared struct {
	bytesBlob
	from name.Repository
}

func (s shared) Repositories() []name.Repository { return []name.Repository{s.from} }

func TestABlobOfAnotherRepositoryIsMounted(t *testing.T) {
	s := registrytest.Start(t)
	c, _ := newClient(t, Options{})
	from, to := repository(t, c, s.Host+"/a"), repository(t, c, s.Host+"/b")
	blob := newBlob("hello")
	if _, err := c.PutBlob(t.Context(), from, blob); err != nil {
		t.Fatal(err)
	}
	s.Forget()
	if sent, err := c.PutBlob(t.Context(), to, shared{blob, from}); err != nil || sent != 0 {
		t.Errorf("sent %d, %v; want 0", sent, err)
	}
	if got := s.Requests(); len(got) != 2 || got[1].Method != "POST" {
		t.Errorf("requests %v; want HEAD and POST", got)
	}
	// One that is not there after all is uploaded in the session that the
	// registry opened in answer.
	if sent, err := c.PutBlob(t.Context(), to, shared{newBlob("other"), from}); err != nil || sent != 5 {
		t.Errorf("not there to mount: sent %d, %v; want 5", sent, err)
	}
}

func TestPlainHTTPIsForLoopbackAndWhatWasNamed(t *testing.T) {
	c, _ := newClient(t, Options{PlainHTTP: []string{"registry.lan:5000", "old.lan"}})
	for host, want := range map[string]bool{
		"localhost:5000": true, "127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true, "registry.localhost": true,
		"registry.lan:5000": true, "registry.lan": false, "old.lan:81": true,
		"10.0.0.7:5000": false, "192.168.1.2": false, "ghcr.io": false, "localhost.example.com": false, "127.0.0.1.example.com": false,
	} {
		if got := c.plain.Has(host); got != want {
			t.Errorf("plain.Has(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestALoopbackRegistryWithTLSNeedsItsAuthority(t *testing.T) {
	s := registrytest.StartTLS(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	c, _ := newClient(t, Options{CABundle: ca})
	if _, err := c.PutBlob(t.Context(), repository(t, c, s.Host+"/app"), newBlob("x")); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	c, _ = newClient(t, Options{})
	_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint(), "ca-bundle") {
		t.Errorf("without: %v; want a hint about ca-bundle", err)
	}
}

func TestARegistryThatIsDownIsOneClearError(t *testing.T) {
	s := registrytest.Start(t)
	s.Close()
	c, clock := newClient(t, Options{})
	_, err := c.Head(t.Context(), repository(t, c, s.Host+"/app").Tag("v1"))
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(e.Error(), "connection refused") || !strings.Contains(e.Hint(), s.Host) {
		t.Errorf("error %v, want connection refused and a hint with the address", err)
	}
	if len(clock.slept) > 0 {
		t.Errorf("waited %v for a registry that is not there", clock.slept)
	}
}
