// Package auth finds credentials and certificate authorities for registries,
// and knows how, and where to, credentials may be sent for a token. The build
// step, which has BuildKit's client, needs no more than this.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/fault"
)

// Options say where credentials come from.
type Options struct {
	// Registries are the hosts that Username and Password are for. No other
	// ever sees them.
	Registries []string

	Username string
	Password string

	// Environ is the environment to search, as NAME=value. The process's own
	// is never read.
	Environ []string
}

// Keychain returns the credentials of o for a registry or repository, from the
// first of these that has some:
//
//  1. Username and Password of o;
//  2. $DOCKER_AUTH_CONFIG, as GitLab runners have it;
//  3. $DOCKER_CONFIG/config.json, else ~/.docker/config.json, with credential
//     helpers; where no such file is, podman's auth.json;
//  4. the CI's own: CI_REGISTRY_USER and CI_REGISTRY_PASSWORD, or CI_JOB_TOKEN,
//     for the host of CI_REGISTRY; GITHUB_TOKEN for ghcr.io.
//
// Nothing found is [authn.Anonymous]. A file that cannot be read or a helper
// that breaks is an error: going on without credentials would end in a message
// about something else.
func Keychain(o Options) authn.Keychain {
	e := environ(o.Environ)
	return &keychain{
		sources: []source{
			inputs{hosts: hosts(o), username: o.Username, password: o.Password},
			&dockerConfig{env: e, find: fromVariable},
			&dockerConfig{env: e, find: findFile},
			ciLogin{e},
		},
		found: map[string]authn.Authenticator{},
	}
}

// A source has credentials for some resources, and nil for others.
type source interface {
	lookup(ctx context.Context, target authn.Resource) (authn.Authenticator, error)
}

type keychain struct {
	sources []source

	mu    sync.Mutex
	found map[string]authn.Authenticator // by repository: a helper costs a process each time
}

// Resolve implements [authn.Keychain].
func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements [authn.ContextKeychain].
func (k *keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := target.String()
	if a, ok := k.found[key]; ok {
		return a, nil
	}
	for _, s := range k.sources {
		a, err := s.lookup(ctx, target)
		if err != nil {
			return nil, fmt.Errorf("credentials for %s: %w", target.RegistryStr(), err)
		}
		if a != nil {
			k.found[key] = a
			return a, nil
		}
	}
	k.found[key] = authn.Anonymous
	return authn.Anonymous, nil
}

// CheckLogin returns a usage error where a user gave one of username and
// password and not the other: with half a login a request would go out
// anonymously, and fail for another reason. variable is the password's.
func CheckLogin(username, password, variable string) error {
	if (username == "") == (password == "") {
		return nil
	}
	return fault.Usage(errors.New("input username and input password belong together; only one is there"),
		"the password comes from the environment: "+variable)
}

// inputs are the credentials a user typed.
type inputs struct {
	hosts              []string
	username, password string
}

func (i inputs) lookup(_ context.Context, target authn.Resource) (authn.Authenticator, error) {
	if i.username == "" && i.password == "" {
		return nil, nil
	}
	if !slices.Contains(i.hosts, canonical(target.RegistryStr())) {
		return nil, nil
	}
	return basic(i.username, i.password), nil
}

// ciLogin are the credentials a CI gives to each of its jobs.
//
// GitLab: https://docs.gitlab.com/ci/variables/predefined_variables/
// GitHub: https://docs.github.com/packages/working-with-a-github-packages-registry/working-with-the-container-registry
type ciLogin struct{ env environ }

func (c ciLogin) lookup(_ context.Context, target authn.Resource) (authn.Authenticator, error) {
	host := canonical(target.RegistryStr())
	if r := c.env.get("CI_REGISTRY"); r != "" && canonical(r) == host {
		if user, password := c.env.get("CI_REGISTRY_USER"), c.env.get("CI_REGISTRY_PASSWORD"); user != "" && password != "" {
			return basic(user, password), nil
		}
		if token := c.env.get("CI_JOB_TOKEN"); token != "" {
			return basic("gitlab-ci-token", token), nil
		}
	}
	if token := c.env.get("GITHUB_TOKEN"); host == "ghcr.io" && token != "" {
		user := c.env.get("GITHUB_ACTOR")
		if user == "" {
			user = "x-access-token" // ghcr.io looks at the token alone
		}
		return basic(user, token), nil
	}
	return nil, nil
}

func basic(username, password string) authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
}

func hosts(o Options) []string {
	var all []string
	for _, h := range o.Registries {
		if h = strings.TrimSpace(h); h != "" {
			all = append(all, canonical(h))
		}
	}
	return all
}

// canonical is a registry's host as the references have it: no scheme, no
// path, and one name for Docker Hub.
func canonical(host string) string {
	host = strings.ToLower(strings.TrimSpace(host))
	host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if host == "docker.io" || host == "registry-1.docker.io" {
		return name.DefaultRegistry
	}
	return host
}

// environ is a list of NAME=value; the last one of a name counts.
type environ []string

func (e environ) get(name string) string {
	for _, kv := range slices.Backward(e) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// maxBundle bounds a CA file. Mozilla's whole list is 0.2 MB.
const maxBundle = 16 << 20

// CAs returns the system's certificate authorities and those of the PEM file
// bundle. With no bundle it returns nil, which is the system's for crypto/tls.
func CAs(bundle string) (*x509.CertPool, error) {
	if bundle == "" {
		return nil, nil
	}
	pem, err := readFile(bundle, maxBundle)
	if err != nil {
		return nil, fmt.Errorf("CA bundle: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("CA bundle %s: the system's certificate authorities: %w", bundle, err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA bundle %s: no PEM certificate in it", bundle)
	}
	return pool, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return b, nil
}
