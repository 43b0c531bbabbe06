package build

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registryOf serves images by name. With a password, one has to log in as user.
func registryOf(t *testing.T, password string, byName map[string]v1.Image) string {
	t.Helper()
	handler := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	locked := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); locked && given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for n, img := range byName {
		ref, err := name.ParseReference(host + "/" + n)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
	}
	locked = password != ""
	return host
}

// tokenRegistry lets nobody in. It sends them to realm for a token, or to
// itself, where they get none.
func tokenRegistry(t *testing.T, realm string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := realm
		if at == "" {
			at = "http://" + r.Host + "/token"
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+at+`",service="test"`)
		http.Error(w, "{}", http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestBaseImageFromARegistry(t *testing.T) {
	busybox, err := base()
	if err != nil {
		t.Fatal(err)
	}
	file, err := busybox.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	other := file.DeepCopy()
	other.Architecture = map[string]string{"amd64": "arm64", "arm64": "amd64"}[other.Architecture]
	foreign, err := mutate.ConfigFile(busybox, other)
	if err != nil {
		t.Fatal(err)
	}
	foreignIndex := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: foreign, Descriptor: v1.Descriptor{Platform: other.Platform()},
	})
	const password = "p4ssw0rd"
	private := registryOf(t, password, map[string]v1.Image{"base:1": busybox})
	public := registryOf(t, "", map[string]v1.Image{"base:1": busybox})
	odd := file.DeepCopy()
	odd.Architecture = "amd64 |\n# forged"
	forged, err := mutate.ConfigFile(busybox, odd)
	if err != nil {
		t.Fatal(err)
	}
	for tag, img := range map[string]v1.Image{"/foreign:alone": foreign, "/forged:1": forged} {
		ref, err := name.ParseReference(public + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := name.ParseReference(public + "/foreign:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, foreignIndex); err != nil {
		t.Fatal(err)
	}
	tokens := tokenRegistry(t, "")
	astray := tokenRegistry(t, "http://auth.invalid/token")
	down := "127.0.0.1:1" // reserved; nothing listens there
	for _, tc := range []struct {
		name, from string
		environ    []string
		code       int
		want       []string
	}{
		{"public", public + "/base:1", nil, 0, nil},
		{"private, with credentials", private + "/base:1", []string{"INPUT_REGISTRY=" + private, "INPUT_USERNAME=user", "INPUT_PASSWORD=" + password}, 0, nil},
		{"private, with GitLab's own", private + "/base:1", []string{"CI_REGISTRY=" + private, "CI_REGISTRY_USER=user", "CI_REGISTRY_PASSWORD=" + password}, 0, nil},
		{"private, without", private + "/base:1", nil, 1, []string{"Dockerfile:1: image " + private + "/base:1: the registry did not let us in", "username and password"}},
		{"private, wrong password", private + "/base:1", []string{"INPUT_REGISTRY=" + private, "INPUT_USERNAME=user", "INPUT_PASSWORD=wr0ng"}, 1, []string{"the registry did not let us in: 401 Unauthorized"}},
		{"token refused", tokens + "/base:1", []string{"INPUT_REGISTRY=" + tokens, "INPUT_USERNAME=user", "INPUT_PASSWORD=wr0ng"}, 1, []string{"Dockerfile:1: the registry did not let us in: " + tokens + " refused the credentials: 401 Unauthorized; give registry"}},
		{"token server elsewhere", astray + "/base:1", []string{"INPUT_REGISTRY=" + astray, "INPUT_USERNAME=user", "INPUT_PASSWORD=wr0ng"}, 1, []string{"Dockerfile:1: " + astray + `: token server "http://auth.invalid/token": it does not use TLS; `, "insecure-registries"}},
		{"no such image", public + "/base:2", nil, 1, []string{"Dockerfile:1: image " + public + "/base:2 does not exist in its registry"}},
		{"another architecture", public + "/foreign:1", nil, 1, []string{"image " + public + "/foreign:1 is not made for this machine's architecture"}},
		{"another architecture, without an index", public + "/foreign:alone", nil, 1, []string{`the image is for "linux/` + other.Architecture + `", which is the wrong architecture`}},
		{"no architecture at all", public + "/forged:1", nil, 1, []string{"which is the wrong architecture"}},
		{"registry down", down + "/base:1", nil, 1, []string{"Dockerfile:1: image " + down + "/base:1: the registry refuses connections", "connection refused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := checkout(t, map[string]string{"Dockerfile": "FROM " + tc.from + "\nCOPY Dockerfile /\n"})
			o := run{dir: dir, state: t.TempDir(), environ: tc.environ}.build(t)
			if o.code != tc.code {
				t.Fatalf("exit code is %d, want %d:\n%s", o.code, tc.code, o.stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(o.stderr, want) {
					t.Errorf("log has no %q:\n%s", want, o.stderr)
				}
			}
			if strings.Contains(o.stderr, password) || strings.Contains(o.stderr, "wr0ng") {
				t.Errorf("log shows a password:\n%s", o.stderr)
			}
		})
	}
}

func TestCachesOutliveTheState(t *testing.T) {
	host := registryOf(t, "", nil)
	for _, tc := range []struct{ name, from, to string }{
		{"registry", "type=registry,ref=" + host + "/cache:1", "type=registry,ref=" + host + "/cache:1,mode=max"},
		{"local", "type=local,src=cache", "type=local,dest=cache,mode=max"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := checkout(t, map[string]string{"Dockerfile": "FROM base AS make\nRUN echo work > /out\nFROM base\nCOPY --from=make /out /out\n", ".dockerignore": "cache\n"})
			args := []string{useBase(t), "--cache-from=" + tc.from, "--cache-to=" + tc.to}
			first := run{dir: dir, state: t.TempDir(), args: args}.mustBuild(t)
			second := run{dir: dir, state: t.TempDir(), args: args}.mustBuild(t)
			if first.stdout != second.stdout {
				t.Errorf("from the cache comes %s, without it %s", second.stdout, first.stdout)
			}
			if !strings.Contains(second.stderr, "CACHED") || strings.Contains(second.stderr, "cached=0") {
				t.Errorf("nothing came from the cache:\n%s", second.stderr)
			}
		})
	}
}
