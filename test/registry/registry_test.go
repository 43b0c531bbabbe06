package registry

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestKeepsImagesAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	image, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	first := ForTest(t, Options{Dir: dir})
	tag := parse(t, first.Addr()+"/app:v1")
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PID(), 0); err != syscall.ESRCH {
		t.Fatalf("the registry's process is still there after Stop: %v", err)
	}

	second := ForTest(t, Options{Dir: dir, Addr: first.Addr()})
	got, err := remote.Head(tag)
	if err != nil {
		t.Fatalf("image is gone after a restart: %v", err)
	}
	if want, _ := image.Digest(); got.Digest != want {
		t.Errorf("digest after a restart: got %s, want %s", got.Digest, want)
	}
	if second.Addr() != first.Addr() {
		t.Errorf("restarted at %s, asked for %s", second.Addr(), first.Addr())
	}
}

func TestDeletesManifests(t *testing.T) {
	s := ForTest(t, Options{})
	image, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	tag := parse(t, s.Addr()+"/app:v1")
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(tag.Context().Digest(digest.String())); err != nil {
		t.Errorf("delete is not enabled: %v", err)
	}
}

func TestAsksForPasswords(t *testing.T) {
	s := ForTest(t, Options{Users: map[string]string{"ci": "correct horse"}})
	for _, tc := range []struct {
		name, user, password string
		want                 int
	}{
		{"nobody", "", "", http.StatusUnauthorized},
		{"wrong password", "ci", "battery staple", http.StatusUnauthorized},
		{"right password", "ci", "correct horse", http.StatusOK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/v2/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if tc.user != "" {
				request.SetBasicAuth(tc.user, tc.password)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != tc.want {
				t.Errorf("got %s, want %d", response.Status, tc.want)
			}
		})
	}
}

func TestSaysWhatTheRegistrySaidWhenItEnds(t *testing.T) {
	s := ForTest(t, Options{})
	_, err := Start(t.Context(), Options{Dir: t.TempDir(), Addr: s.Addr()})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("second registry on %s: got error %v, want its own words, address already in use", s.Addr(), err)
	}
}

func TestEnvironmentDoesNotReachTheRegistry(t *testing.T) {
	t.Setenv("REGISTRY_STORAGE_DELETE_ENABLED", "false")
	s := ForTest(t, Options{})
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(environ), "REGISTRY_") {
		t.Errorf("the registry was started with %q", environ)
	}
}

func parse(t *testing.T, tag string) name.Tag {
	t.Helper()
	parsed, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
