package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// login returns "user:secret" for repository, "" for anonymous.
func login(t *testing.T, k authn.Keychain, repository string) string {
	t.Helper()
	repo, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authn.Resolve(t.Context(), k, repo)
	if err != nil {
		t.Fatalf("%s: %v", repository, err)
	}
	c, err := authn.Authorization(t.Context(), a)
	if err != nil {
		t.Fatalf("%s: %v", repository, err)
	}
	if a == authn.Anonymous {
		return ""
	}
	return c.Username + ":" + c.Password + c.IdentityToken
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func auths(host, user, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func TestTheFirstSourceThatKnowsARegistryWins(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, ".docker", "config.json"), auths("ghcr.io", "home", "h"))
	write(t, filepath.Join(home, "other", "config.json"), auths("registry.example.com", "other", "o"))
	write(t, filepath.Join(home, "run", "containers", "auth.json"), auths("ghcr.io/acme", "podman", "p"))
	for _, tc := range []struct {
		name    string
		options Options
		repo    string
		want    string
	}{
		{"nothing", Options{}, "ghcr.io/acme/app", ""},
		{"inputs for no registry", Options{Username: "u", Password: "p"}, "ghcr.io/acme/app", ""},
		{"inputs for this registry", Options{Registries: []string{"ghcr.io"}, Username: "u", Password: "p"}, "ghcr.io/acme/app", "u:p"},
		{"inputs for another", Options{Registries: []string{"quay.io"}, Username: "u", Password: "p"}, "ghcr.io/acme/app", ""},
		{"inputs for Docker Hub by its other name", Options{Registries: []string{"docker.io"}, Username: "u", Password: "p"}, "acme/app", "u:p"},
		{"inputs before files", Options{Registries: []string{"ghcr.io"}, Username: "u", Password: "p", Environ: []string{"HOME=" + home}}, "ghcr.io/acme/app", "u:p"},
		{"the home's file", Options{Environ: []string{"HOME=" + home}}, "ghcr.io/acme/app", "home:h"},
		{"DOCKER_CONFIG decides alone", Options{Environ: []string{"HOME=" + home, "DOCKER_CONFIG=" + home + "/other"}}, "ghcr.io/acme/app", ""},
		{"DOCKER_CONFIG", Options{Environ: []string{"HOME=" + home, "DOCKER_CONFIG=" + home + "/other"}}, "registry.example.com/x", "other:o"},
		{"podman's file, by path", Options{Environ: []string{"XDG_RUNTIME_DIR=" + home + "/run"}}, "ghcr.io/acme/app", "podman:p"},
		{"podman's file, another path", Options{Environ: []string{"XDG_RUNTIME_DIR=" + home + "/run"}}, "ghcr.io/other/app", ""},
		{"DOCKER_AUTH_CONFIG before the home's", Options{Environ: []string{"HOME=" + home, "DOCKER_AUTH_CONFIG=" + auths("ghcr.io", "var", "v")}}, "ghcr.io/acme/app", "var:v"},
		{"GitLab's user", Options{Environ: []string{"CI_REGISTRY=registry.gitlab.com", "CI_REGISTRY_USER=gl", "CI_REGISTRY_PASSWORD=pw", "CI_JOB_TOKEN=jt"}}, "registry.gitlab.com/a/b", "gl:pw"},
		{"GitLab's job token", Options{Environ: []string{"CI_REGISTRY=registry.gitlab.com", "CI_JOB_TOKEN=jt"}}, "registry.gitlab.com/a/b", "gitlab-ci-token:jt"},
		{"GitLab's are for its own registry", Options{Environ: []string{"CI_REGISTRY=registry.gitlab.com", "CI_JOB_TOKEN=jt"}}, "ghcr.io/a/b", ""},
		{"GitHub's token", Options{Environ: []string{"GITHUB_TOKEN=gt", "GITHUB_ACTOR=mona"}}, "ghcr.io/a/b", "mona:gt"},
		{"GitHub's is for ghcr.io", Options{Environ: []string{"GITHUB_TOKEN=gt", "GITHUB_ACTOR=mona"}}, "docker.io/a/b", ""},
		{"files before the CI", Options{Environ: []string{"HOME=" + home, "GITHUB_TOKEN=gt"}}, "ghcr.io/a/b", "home:h"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := login(t, Keychain(tc.options), tc.repo); got != tc.want {
				t.Errorf("login for %s: %q, want %q", tc.repo, got, tc.want)
			}
		})
	}
}

func TestDockerHubIsFoundUnderItsOldAddress(t *testing.T) {
	for _, key := range []string{"https://index.docker.io/v1/", "docker.io", "index.docker.io"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "config.json"), auths(key, "hub", "h"))
		if got := login(t, Keychain(Options{Environ: []string{"DOCKER_CONFIG=" + dir}}), "acme/app"); got != "hub:h" {
			t.Errorf("stored as %s: %q", key, got)
		}
	}
}

func TestCredentialHelpersAreAskedByName(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	helper := func(name, script string) {
		write(t, filepath.Join(bin, "docker-credential-"+name), "#!/bin/sh\n"+script)
		if err := os.Chmod(filepath.Join(bin, "docker-credential-"+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	helper("good", `read host; echo "{\"ServerURL\":\"$host\",\"Username\":\"helped\",\"Secret\":\"$host\"}"`)
	helper("token", `echo '{"Username":"<token>","Secret":"identity"}'`)
	helper("empty", `echo "credentials not found in native keychain"; exit 1`)
	helper("broken", `echo "canary-secret"; echo "canary-secret" >&2; exit 3`)
	write(t, filepath.Join(dir, "config.json"), `{
		"credHelpers":{"good.example.com":"good","token.example.com":"token","broken.example.com":"broken","gone.example.com":"gone"},
		"credsStore":"empty",
		"auths":{"stored.example.com":{"auth":"dTpw"}}}`)
	k := Keychain(Options{Environ: []string{"DOCKER_CONFIG=" + dir, "PATH=" + bin + ":/usr/bin:/bin"}})
	for repo, want := range map[string]string{
		"good.example.com/app":   "helped:good.example.com",
		"token.example.com/app":  "<token>:identity",
		"stored.example.com/app": "u:p",
		"nobody.example.com/app": "",
	} {
		if got := login(t, k, repo); got != want {
			t.Errorf("%s: %q, want %q", repo, got, want)
		}
	}
	for repo, want := range map[string]string{"broken.example.com/app": "docker-credential-broken", "gone.example.com/app": "not on PATH"} {
		r, err := name.NewRepository(repo)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Resolve(r)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary-secret") {
			t.Errorf("%s: error %v; want one with %q and without what the helper printed", repo, err, want)
		}
	}
}

func TestAHelperThatHangsEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "docker-credential-slow"), "#!/bin/sh\nexec sleep 600\n")
	if err := os.Chmod(filepath.Join(dir, "docker-credential-slow"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.json"), `{"credsStore":"slow"}`)
	k := Keychain(Options{Environ: []string{"DOCKER_CONFIG=" + dir, "PATH=" + dir + ":/usr/bin:/bin"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	repo, err := name.NewRepository("example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authn.Resolve(ctx, k, repo); err == nil {
		t.Error("a helper that hangs gave credentials")
	}
}

func TestAConfigurationThatCannotBeReadIsAnErrorWithoutItsText(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json"), `{"auths":{"ghcr.io":{"auth":"canary-secret"`)
	repo, err := name.NewRepository("ghcr.io/acme/app")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Keychain(Options{Environ: []string{"DOCKER_CONFIG=" + dir}}).Resolve(repo)
	if err == nil || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "canary") {
		t.Errorf("error %v; want one that names the file and not what is in it", err)
	}
}

func TestABundleWithoutCertificatesIsAnError(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	write(t, empty, "not PEM")
	if _, err := CAs(empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("error %v; want one that names the file", err)
	}
	if _, err := CAs(filepath.Join(dir, "gone.pem")); err == nil {
		t.Error("a bundle that is not there was accepted")
	}
	if pool, err := CAs(""); pool != nil || err != nil {
		t.Errorf("no bundle: %v, %v; want the system's", pool, err)
	}
}
