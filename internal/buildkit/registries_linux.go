package buildkit

import (
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/moby/buildkit/util/resolver"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"
)

// registryHosts tells how to reach a registry: its mirrors first, in their
// order, and each of them over TLS unless it is among plain. BuildKit's own list
// of plain registries knows no host without its port.
//
// A mirror that does not have an image, or does not answer, is passed over. What
// is pushed, such as a cache, goes to the registry itself.
func registryHosts(plain auth.PlainHTTP, mirrors map[string][]string) docker.RegistryHosts {
	overTLS := resolver.NewRegistryConfig(nil)
	return func(host string) ([]docker.RegistryHost, error) {
		if !plain.Has(host) && len(mirrors[host]) == 0 {
			return overTLS(host)
		}
		config := map[string]resolverconfig.RegistryConfig{}
		for _, mirror := range mirrors[host] {
			name, _, _ := strings.Cut(mirror, "/") // a path may stand behind it
			inPlain := plain.Has(name)
			config[name] = resolverconfig.RegistryConfig{PlainHTTP: &inPlain}
		}
		inPlain := plain.Has(host)
		config[host] = resolverconfig.RegistryConfig{PlainHTTP: &inPlain, Mirrors: mirrors[host]}
		return resolver.NewRegistryConfig(config)(host)
	}
}
