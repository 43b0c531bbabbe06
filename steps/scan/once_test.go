package scan

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/test/images"
)

// turnstile stands before a registry and notes which blobs are asked for.
type turnstile struct {
	addr string

	mu    sync.Mutex
	blobs []string
}

func newTurnstile(t *testing.T, behind string) *turnstile {
	t.Helper()
	stile := &turnstile{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok {
			stile.mu.Lock()
			stile.blobs = append(stile.blobs, digest)
			stile.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	stile.addr = strings.TrimPrefix(server.URL, "http://")
	return stile
}

// passed returns the blobs asked for since it was called last, but for those
// that are not among these.
func (stile *turnstile) passed(of []string) []string {
	stile.mu.Lock()
	defer stile.mu.Unlock()
	all := slices.DeleteFunc(stile.blobs, func(digest string) bool { return !slices.Contains(of, digest) })
	stile.blobs = nil
	slices.Sort(all)
	return all
}

// blobsOf are the digests of an image's layers, base first.
func blobsOf(t *testing.T, img v1.Image) (all []string) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, digest.String())
	}
	return all
}

// Of an image in a registry only the layers that are not known are fetched.
func TestALayerIsFetchedOnce(t *testing.T) {
	c := newCheckout(t)
	behind, _, _ := strings.Cut(c.db, "/")
	stile := newTurnstile(t, behind)
	base, app := debian(dpkgHead+dpkgZlib), map[string]string{pyYAMLPath: pyYAML}
	first, changed := compose(t, base, app), compose(t, base, app, map[string]string{"srv/index.html": "<h1>hello</h1>"})
	layers := blobsOf(t, changed)
	if of := blobsOf(t, first); !slices.Equal(of, layers[:2]) {
		t.Fatalf("the images share %v and %v: the test compares the wrong ones", of, layers)
	}
	pushImage(t, behind+"/acme/hello:1", first)
	pushImage(t, behind+"/acme/hello:2", changed)
	for _, tc := range []struct {
		name, tag string
		args      []string
		want      []string
	}{
		{"a new image", ":1", nil, layers[:2]},
		{"the same once more", ":1", nil, nil},
		{"one with a file more", ":2", nil, layers[2:]},
		{"without what is kept", ":2", []string{"--layer-cache=false"}, layers},
		{"of which other secrets are wanted", ":2", []string{"--scanners=vuln"}, layers},
		{"by other rules of the gate", ":2", []string{"--fail-on=low", "--severity=high", "--ignore-unfixed"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := c.scan(t, append(tc.args, "--source="+stile.addr+"/acme/hello"+tc.tag)...)
			r.wantCode(t, 3)
			want := slices.Sorted(slices.Values(tc.want))
			if got := stile.passed(layers); !slices.Equal(got, want) {
				t.Errorf("fetched %v, want %v", got, want)
			}
		})
	}
}

// What the builder left uncompressed is read in place of the blob, which need not
// even be there.
func TestTheBuildersPlainLayersAreRead(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead+dpkgZlib))
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	c.leavePlain(t, layers[0])
	if err := os.Remove(filepath.Join(c.workspace(), "image", "blobs", filepath.FromSlash(strings.Replace(blobsOf(t, img)[0], ":", "/", 1)))); err != nil {
		t.Fatal(err)
	}
	r := c.scan(t)
	r.wantCode(t, 3)
	wantText(t, "stdout", r.stdout, "CVE-2023-45853", "1 CRITICAL, 2 HIGH")
	// Nor is it looked for beside an image that build did not make.
	r = c.scan(t, "--source="+filepath.Join(c.workspace(), "image"), "--layer-cache=false")
	if r.code != 1 {
		t.Errorf("exit code %d for an image that lacks a layer and is not the builder's, want 1\n%s", r.code, r.stderr)
	}
}

// leavePlain puts the tar of a layer where build leaves it.
func (c *checkout) leavePlain(t *testing.T, l v1.Layer) {
	t.Helper()
	diffID, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	content, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.workspace(), "layers", diffID.Algorithm)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, diffID.Hex), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The rules of trivy-secret.yaml in the checkout count without being named, those
// of a named file in its place; other rules are another question about a layer.
func TestTheUsersRulesForSecretsCount(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgClean), map[string]string{"srv/notes.txt": "acme-012345 is a token, and\nexport AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF\n"})
	const tokens = "rules:\n- {id: acme-token, category: acme, title: Token of Acme, severity: HIGH, regex: 'acme-[0-9]{6}', keywords: [acme-]}\n"
	for _, tc := range []struct {
		name, config, named string
		want, not           string
	}{
		{"none", "", "", "aws-access-key-id", "acme-token"},
		{"one more", tokens, "", "acme-token", "no such rule"},
		{"one less", tokens + "disable-rules: [aws-access-key-id]\n", "", "acme-token", "aws-access-key-id"},
		{"a named file", tokens, "disable-rules: [jwt-token]\n", "aws-access-key-id", "acme-token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.write(t, "trivy-secret.yaml", tc.config)
			args := []string{"--fail-on=none"}
			if tc.named != "" {
				c.write(t, "named.yaml", tc.named)
				args = append(args, "--secret-config=named.yaml")
			}
			r := c.scan(t, args...)
			r.wantCode(t, 0)
			wantText(t, "stdout", r.stdout, tc.want)
			if strings.Contains(r.stdout, tc.not) {
				t.Errorf("stdout has %q:\n%s", tc.not, r.stdout)
			}
		})
	}
}

// In a layer that a later one covers, and there with the instruction that made it.
func TestASecretThatIsRemovedKeepsItsLayerAndInstruction(t *testing.T) {
	c := newCheckout(t)
	secret, err := images.TextLayer(map[string]string{"srv/notes.txt": "export AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF\n"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := images.TextLayer(map[string]string{"srv/.wh.notes.txt": ""})
	if err != nil {
		t.Fatal(err)
	}
	img, err := images.Compose(compose(t, debian(dpkgClean)), []images.Step{
		{CreatedBy: "COPY notes.txt /srv/ # buildkit", Layer: secret},
		{CreatedBy: "RUN /bin/sh -c rm /srv/notes.txt # buildkit", Layer: gone},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := images.WriteLayout(filepath.Join(c.dir, "it"), img); err != nil {
		t.Fatal(err)
	}
	r := c.scan(t, "--source=./it")
	r.wantCode(t, 3)
	wantText(t, "stdout", r.stdout, "srv/notes.txt:1", "2, COPY notes.txt /srv/", "removed by layer 3, still in the image")
	found := 0
	for _, result := range c.report(t).Results {
		for _, s := range result.Secrets {
			found++
			if s.Layer.CreatedBy != "COPY notes.txt /srv/ # buildkit" || s.Layer.Digest != blobsOf(t, img)[1] {
				t.Errorf("the report has the secret in layer %s, made by %q", s.Layer.Digest, s.Layer.CreatedBy)
			}
		}
	}
	if found != 1 {
		t.Errorf("the report has %d secrets, want 1", found)
	}
}
