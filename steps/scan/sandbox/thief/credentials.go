//go:build thief && linux

package thief

import (
	"context"
	"path/filepath"
)

// Credential is a file that credentials are known to lie in.
type Credential struct{ Name, Path string }

// Credentials returns those of a user's home directory, of a checkout and of the
// system.
func Credentials(home, workspace string) []Credential {
	in := func(dir string, all ...Credential) (paths []Credential) {
		for _, c := range all {
			paths = append(paths, Credential{c.Name, filepath.Join(dir, c.Path)})
		}
		return paths
	}
	all := in(home,
		Credential{"SSH keys", ".ssh/id_ed25519"},
		Credential{"registry logins", ".docker/config.json"},
		Credential{"AWS credentials", ".aws/credentials"},
		Credential{"Kubernetes credentials", ".kube/config"},
		Credential{"Google Cloud credentials", ".config/gcloud/application_default_credentials.json"},
		Credential{"Azure tokens", ".azure/msal_token_cache.json"},
		Credential{"netrc", ".netrc"},
		Credential{"git credentials", ".git-credentials"},
		Credential{"the GitHub CLI's token", ".config/gh/hosts.yml"},
		Credential{"npm's token", ".npmrc"},
		Credential{"PyPI's token", ".pypirc"},
		Credential{"Vault's token", ".vault-token"},
		Credential{"the runner's credentials", "actions-runner/.credentials"},
		Credential{"the shell's history", ".bash_history"},
	)
	all = append(all, in(workspace, Credential{"the checkout's token", ".git/config"}, Credential{"an .env file", ".env"})...)
	return append(all, in("/",
		Credential{"passwords", "etc/shadow"},
		Credential{"the host's SSH key", "etc/ssh/ssh_host_ed25519_key"},
		Credential{"the service account's token", "run/secrets/kubernetes.io/serviceaccount/token"},
	)...)
}

func credentialWays(s Scene) (ways []Way) {
	for _, c := range Credentials(s.Home, s.Workspace) {
		ways = append(ways, Way{Name: c.Name, Try: func(context.Context) error { return s.read(c.Path) }})
	}
	return ways
}
