package build

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

// put sends an image to a registry.
func put(t *testing.T, to string, img remote.Taggable, options ...remote.Option) {
	t.Helper()
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(ref, img, options...); err != nil {
		t.Fatal(err)
	}
}

// tokenRegistry has an image, base:1, for those with a token, which user gets
// for a password at realm, or if that is empty, where tokens are.
func tokenRegistry(t *testing.T, img v1.Image, password, realm string) string {
	t.Helper()
	server := registrytest.Start(t)
	put(t, server.Host+"/base:1", img)
	service := server.RequireTokens(t)
	service.Username, service.Password, service.Realm = "user", password, realm
	return server.Host
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
	odd := file.DeepCopy()
	odd.Architecture = "amd64 |\n# forged"
	forged, err := mutate.ConfigFile(busybox, odd)
	if err != nil {
		t.Fatal(err)
	}
	const password = "p4ssw0rd"
	private := registrytest.StartPrivate(t, "user", password).Host
	put(t, private+"/base:1", busybox, remote.WithAuth(&authn.Basic{Username: "user", Password: password}))
	public := registrytest.Start(t).Host
	put(t, public+"/base:1", busybox)
	put(t, public+"/foreign:1", foreignIndex)
	put(t, public+"/foreign:alone", foreign)
	put(t, public+"/forged:1", forged)
	tokens := tokenRegistry(t, busybox, password, "")
	astray := tokenRegistry(t, busybox, password, "http://auth.invalid/token")
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
		{"token given", tokens + "/base:1", []string{"INPUT_REGISTRY=" + tokens, "INPUT_USERNAME=user", "INPUT_PASSWORD=" + password}, 0, nil},
		{"token refused", tokens + "/base:1", []string{"INPUT_REGISTRY=" + tokens, "INPUT_USERNAME=user", "INPUT_PASSWORD=wr0ng"}, 1, []string{"Dockerfile:1: the registry did not let us in: " + tokens + " refused the credentials: 401 Unauthorized; give registry"}},
		{"token server elsewhere", astray + "/base:1", []string{"INPUT_REGISTRY=" + astray, "INPUT_USERNAME=user", "INPUT_PASSWORD=wr0ng"}, 1, []string{"Dockerfile:1: " + astray + `: token server "http://auth.invalid/token": it does not use TLS; `, "insecure-registries"}},
		{"no such image", public + "/base:2", nil, 1, []string{"Dockerfile:1: image " + public + "/base:2 does not exist in its registry"}},
		{"another architecture", public + "/foreign:1", nil, 1, []string{"image " + public + "/foreign:1 is not made for the platform that is wanted"}},
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
	host := registrytest.Start(t).Host
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
