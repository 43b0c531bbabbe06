package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// maxConfig bounds a config.json; one of a thousand registries is 0.1 MB.
const maxConfig = 4 << 20

// dockerConfig are the credentials of a Docker config.json, or of podman's
// auth.json, which has the same form.
type dockerConfig struct {
	env environ

	// find returns the file's bytes and where they come from; nil where
	// there is none.
	find func(environ) (config []byte, from string, err error)

	read bool
	file *configfile.ConfigFile // nil: there is none
}

func (d *dockerConfig) lookup(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	if err := d.load(); err != nil {
		return nil, err
	}
	if d.file == nil {
		return nil, nil
	}
	keys := lookupKeys(target)
	for _, key := range keys {
		helper := d.file.CredentialHelpers[key]
		if helper == "" {
			continue
		}
		return askHelper(ctx, d.env, helper, serverURL(key))
	}
	if d.file.CredentialsStore != "" {
		a, err := askHelper(ctx, d.env, d.file.CredentialsStore, serverURL(canonical(target.RegistryStr())))
		if a != nil || err != nil {
			return a, err
		}
	}
	return d.fromFile(keys), nil
}

// fromFile looks in the file itself. Old logins are stored under URLs, as
// https://index.docker.io/v1/ still is.
func (d *dockerConfig) fromFile(keys []string) authn.Authenticator {
	for _, key := range keys {
		if a := authenticator(d.file.AuthConfigs[key]); a != nil {
			return a
		}
	}
	host := keys[len(keys)-1]
	for stored, c := range d.file.AuthConfigs {
		if strings.Contains(stored, "://") && canonical(stored) == host {
			if a := authenticator(c); a != nil {
				return a
			}
		}
	}
	return nil
}

func (d *dockerConfig) load() error {
	if d.read {
		return nil
	}
	config, from, err := d.find(d.env)
	if err != nil {
		return err
	}
	if len(config) > 0 {
		file := configfile.New(from)
		if err := file.LoadFromReader(bytes.NewReader(config)); err != nil {
			// The parser's text may quote the file, and the file is secret.
			return fmt.Errorf("%s: not a Docker configuration", from)
		}
		d.file = file
	}
	d.read = true
	return nil
}

// lookupKeys returns the names under which credentials of target may be
// stored, the narrowest first: podman stores them by path, too.
// https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
func lookupKeys(target authn.Resource) []string {
	host := canonical(target.RegistryStr())
	var keys []string
	if path := target.String(); strings.HasPrefix(path, target.RegistryStr()+"/") {
		for strings.Contains(path, "/") {
			keys = append(keys, path)
			path = path[:strings.LastIndex(path, "/")]
		}
	}
	if host == name.DefaultRegistry {
		keys = append(keys, authn.DefaultAuthKey, "docker.io")
	}
	return append(keys, host)
}

// serverURL is the name Docker gives a registry towards its helpers.
func serverURL(key string) string {
	if key == name.DefaultRegistry || key == "docker.io" {
		return authn.DefaultAuthKey
	}
	return key
}

// authenticator returns nil for an entry without credentials: with a
// credential store, docker login leaves empty entries in the file.
func authenticator(c types.AuthConfig) authn.Authenticator {
	if c.Username == "" && c.Password == "" && c.Auth == "" && c.IdentityToken == "" && c.RegistryToken == "" {
		return nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username:      c.Username,
		Password:      c.Password,
		Auth:          c.Auth,
		IdentityToken: c.IdentityToken,
		RegistryToken: c.RegistryToken,
	})
}

func fromVariable(env environ) ([]byte, string, error) {
	return []byte(env.get("DOCKER_AUTH_CONFIG")), "DOCKER_AUTH_CONFIG", nil
}

// findFile returns the first configuration there is. A DOCKER_CONFIG that is
// set decides alone: whoever sets it wants none of the others.
func findFile(env environ) ([]byte, string, error) {
	var candidates []string
	home := env.get("HOME")
	if dir := env.get("DOCKER_CONFIG"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "config.json"))
	} else {
		if home != "" {
			candidates = append(candidates, filepath.Join(home, ".docker", "config.json"))
		}
		if file := env.get("REGISTRY_AUTH_FILE"); file != "" {
			candidates = append(candidates, file)
		}
		if dir := env.get("XDG_RUNTIME_DIR"); dir != "" {
			candidates = append(candidates, filepath.Join(dir, "containers", "auth.json"))
		}
		if dir := env.get("XDG_CONFIG_HOME"); dir != "" {
			candidates = append(candidates, filepath.Join(dir, "containers", "auth.json"))
		} else if home != "" {
			candidates = append(candidates, filepath.Join(home, ".config", "containers", "auth.json"))
		}
	}
	for _, path := range candidates {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			continue
		}
		b, err := readFile(path, maxConfig)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return b, path, err
	}
	return nil, "", nil
}
