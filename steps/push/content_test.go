package push

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

func TestAPushAgainSendsNothing(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 2, "v1.0.0", "latest")
	for i := range 2 {
		if code, _, stderr := c.push("--images=" + s.Host + "/app"); code != 0 {
			t.Fatalf("time %d: exit %d\n%s", i+1, code, stderr)
		}
		if i == 0 {
			s.Forget()
		}
	}
	for _, r := range s.Requests() {
		if r.Method != http.MethodHead || strings.Contains(r.Path, "/blobs/") {
			t.Errorf("the second push sent %s; want HEADs of manifests alone", r)
		}
	}
	done, err := record.Read[record.Push](c.workspace(), "push")
	if err != nil || done.Targets[0].BytesSent != 0 {
		t.Errorf("record %+v, %v; want 0 bytes", done, err)
	}
}

func TestALostPartOfAnIndexIsSentAgain(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 2, "v1.0.0")
	if code, _, stderr := c.push("--images=" + s.Host + "/app"); code != 0 {
		t.Fatal(stderr)
	}
	layout, err := image.OpenLayout(filepath.Join(c.workspace(), "image"))
	c.must(err)
	root, err := layout.Root()
	c.must(err)
	index, err := layout.Index(root.Digest)
	c.must(err)
	m, err := index.IndexManifest()
	c.must(err)
	child := m.Manifests[0].Digest.String()
	req, err := http.NewRequest(http.MethodDelete, s.URL+"/v2/app/manifests/"+child, nil)
	c.must(err)
	resp, err := http.DefaultClient.Do(req)
	c.must(err)
	resp.Body.Close()
	if got := tagged(t, s, "app", child); got[0] != "" {
		t.Fatalf("the part is still there: %v", got)
	}
	if code, _, stderr := c.push("--images=" + s.Host + "/app"); code != 0 {
		t.Fatal(stderr)
	}
	if got := tagged(t, s, "app", child); got[0] != child {
		t.Errorf("the part is %q after another push, want %s", got[0], child)
	}
}

func TestASecondRepositoryOfARegistrySharesTheBlobs(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 0, "v1.0.0")
	if code, _, stderr := c.push("--images=" + s.Host + "/a\n" + s.Host + "/b"); code != 0 {
		t.Fatal(stderr)
	}
	done, err := record.Read[record.Push](c.workspace(), "push")
	if err != nil || done.Targets[0].BytesSent == 0 || done.Targets[1].BytesSent != 0 {
		t.Errorf("record %+v, %v; want bytes for the first repository alone", done.Targets, err)
	}
	if got := tagged(t, s, "b", "v1.0.0"); got[0] != c.digest {
		t.Errorf("b:v1.0.0 is %v", got)
	}
}
