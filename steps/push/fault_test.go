package push

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

func TestNoTagMovesWhenOneRegistryFails(t *testing.T) {
	good, bad := registrytest.Start(t), registrytest.Start(t)
	bad.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	c := newCheckout(t, 0, "v1.0.0", "latest")
	code, _, stderr := c.push("--images=" + good.Host + "/app\n" + bad.Host + "/app")
	if code != 1 || !strings.Contains(stderr, bad.Host) {
		t.Errorf("exit %d, %s; want 1 and the registry that failed", code, stderr)
	}
	if got := tagged(t, good, "app", "v1.0.0", "latest"); got[0]+got[1] != "" {
		t.Errorf("tags in the other registry: %v; want none", got)
	}
	if _, err := record.Read[record.Push](c.workspace(), "push"); err == nil {
		t.Error("there is a record of a push that failed")
	}
}

func TestAPushThatIsStoppedMovesNoTag(t *testing.T) {
	for _, stopAt := range []string{"blob", "manifest"} {
		s := registrytest.Start(t)
		c := newCheckout(t, 2, "v1.0.0", "latest")
		ctx, stop := context.WithCancel(t.Context())
		s.Before(func(w http.ResponseWriter, r *http.Request) bool {
			if kind(r) == stopAt {
				stop()
			}
			return false
		})
		if code, _, stderr := c.pushWith(ctx, nil, "--images="+s.Host+"/app"); code == 0 {
			t.Errorf("stopped at a %s: exit 0\n%s", stopAt, stderr)
		}
		for _, r := range s.Requests() {
			if r.Method == http.MethodPut && strings.Contains(r.Path, "/manifests/") && !strings.Contains(r.Path, "sha256:") {
				t.Errorf("stopped at a %s: %s was sent", stopAt, r)
			}
		}
	}
}

func TestADamagedLayoutIsNotPushed(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 0, "v1.0.0")
	layout, err := image.OpenLayout(filepath.Join(c.workspace(), "image"))
	c.must(err)
	root, err := layout.Root()
	c.must(err)
	img, err := layout.Image(root.Digest)
	c.must(err)
	m, err := img.Manifest()
	c.must(err)
	path := filepath.Join(c.workspace(), "image", "blobs", "sha256", m.Layers[0].Digest.Hex)
	raw, err := os.ReadFile(path)
	c.must(err)
	raw[len(raw)-1] ^= 1
	c.must(os.WriteFile(path, raw, 0o644))
	code, _, stderr := c.push("--images=" + s.Host + "/app")
	if code != 1 || !strings.Contains(stderr, m.Layers[0].Digest.Hex) || !strings.Contains(stderr, "build again") {
		t.Errorf("exit %d, %s; want 1, the blob, and to build again", code, stderr)
	}
	if got := tagged(t, s, "app", "v1.0.0", c.digest); got[0]+got[1] != "" {
		t.Errorf("the registry has %v of it", got)
	}
}

func TestARegistryThatIsDownIsOneSentence(t *testing.T) {
	s := registrytest.Start(t)
	s.Close()
	c := newCheckout(t, 0, "v1.0.0")
	code, _, stderr := c.push("--images=" + s.Host + "/app")
	if code != 1 || !strings.Contains(stderr, "is the registry running") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit %d, %s; want 1 and one line", code, stderr)
	}
}

func TestARegistryThatNeverAnswersEndsWithTheTimeout(t *testing.T) {
	s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newCheckout(t, 0, "v1.0.0")
	code, _, stderr := c.push("--images="+s.Host+"/app", "--timeout=20ms")
	if code != 1 || !strings.Contains(stderr, "not done within 20ms") || !strings.Contains(stderr, "raise timeout") {
		t.Errorf("exit %d, %s; want 1 and the input to raise", code, stderr)
	}
}

func TestARefusedPasswordIsShownNowhere(t *testing.T) {
	const canary = "canary-5c2e91"
	s := registrytest.Start(t)
	tokens := s.RequireTokens(t)
	tokens.Username, tokens.Password = "ci", "right"
	c := newCheckout(t, 0, "v1.0.0")
	code, stdout, stderr := c.pushWith(t.Context(), []string{"IMAGEWRIGHT_PUSH_PASSWORD=" + canary}, "--images="+s.Host+"/app", "--username=ci", "--log-level=debug")
	if code != 1 || !strings.Contains(stderr, "401") || !strings.Contains(stderr, "username and password") {
		t.Errorf("exit %d, %s; want 1, 401, and what to set", code, stderr)
	}
	code, _, more := c.pushWith(t.Context(), []string{"IMAGEWRIGHT_PUSH_PASSWORD=right"}, "--images="+s.Host+"/app", "--username=ci")
	if code != 0 {
		t.Errorf("with the right password: exit %d, %s", code, more)
	}
	all := stdout + stderr
	c.must(filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			raw, readErr := os.ReadFile(path)
			all, err = all+string(raw), readErr
		}
		return err
	}))
	if strings.Contains(all, canary) {
		t.Error("the password is in the log or in a file")
	}
}
