package push

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

// tagged returns what the tags of a repository point to.
func tagged(t *testing.T, s *registrytest.Server, repo string, tags ...string) []string {
	t.Helper()
	var digests []string
	for _, tag := range tags {
		resp, err := http.Get(s.URL + "/v2/" + repo + "/manifests/" + tag)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		digests = append(digests, resp.Header.Get("Docker-Content-Digest"))
	}
	return digests
}

func TestAVersionTagNeverMoves(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 0, "v1.0.0", "latest")
	if code, _, stderr := c.push("--images=" + s.Host + "/app"); code != 0 {
		t.Fatal(stderr)
	}
	old := c.digest
	c.build(0)
	s.Forget()
	args := []string{"--images=" + s.Host + "/other\n" + s.Host + "/app", "--tags=v1.0.0\nlatest", "--scan-gate=off"}
	code, _, stderr := c.push(args...)
	if code != 3 || !strings.Contains(stderr, old) || !strings.Contains(stderr, c.digest) || !strings.Contains(stderr, "app:v1.0.0") || !strings.Contains(stderr, "immutable=false") {
		t.Errorf("exit %d, %s; want 3, the tag, both digests and the way out", code, stderr)
	}
	for _, r := range s.Requests() {
		if r.Method != http.MethodHead {
			t.Errorf("%s was sent before the push was refused", r)
		}
	}
	if code, _, stderr := c.push(append(args, "--no-immutable")...); code != 0 {
		t.Errorf("with immutable=false: exit %d, %s", code, stderr)
	}
	if got := tagged(t, s, "app", "v1.0.0", "latest"); got[0] != c.digest || got[1] != c.digest {
		t.Errorf("with immutable=false: tags at %v, want %s", got, c.digest)
	}
}

func TestATagSetByAnotherPushMeanwhileIsReported(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 0, "v1.0.0")
	other := newCheckout(t, 0, "v1.0.0")
	var once sync.Once
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") {
			once.Do(func() { // the other push wins while our content is under way
				s.Before(nil)
				if code, _, stderr := other.push("--images=" + s.Host + "/app"); code != 0 {
					t.Error(stderr)
				}
			})
		}
		return false
	})
	code, _, stderr := c.push("--images=" + s.Host + "/app")
	if code != 3 || !strings.Contains(stderr, other.digest) {
		t.Errorf("exit %d, %s; want 3 and the other's digest", code, stderr)
	}
	if got := tagged(t, s, "app", "v1.0.0"); got[0] != other.digest {
		t.Errorf("the tag is at %v; want the first one's %s", got, other.digest)
	}
}

func TestATagThatPointsElsewhereAfterwardsIsReported(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 0, "main")
	other := "sha256:" + strings.Repeat("0", 64)
	set := false
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/main") {
			return false
		}
		if r.Method == http.MethodHead && set {
			w.Header().Set("Docker-Content-Digest", other)
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "100")
			return true
		}
		set = set || r.Method == http.MethodPut
		return false
	})
	code, _, stderr := c.push("--images=" + s.Host + "/app")
	if code != 1 || !strings.Contains(stderr, other) || !strings.Contains(stderr, "another push set it") {
		t.Errorf("exit %d, %s; want 1 and the digest that is there now", code, stderr)
	}
}

func TestTagsGoFromNarrowToWide(t *testing.T) {
	got, err := wantedTags([]string{"latest", "main", "1", "v1.2.3-20231125-7a3b5c9", "1.2", "edge", "sha-7a3b5c9", "latest"}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"v1.2.3-20231125-7a3b5c9", "main", "sha-7a3b5c9", "1.2", "1", "edge", "latest"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
