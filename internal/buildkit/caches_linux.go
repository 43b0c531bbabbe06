package buildkit

import (
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/imagewright/imagewright/internal/buildkit/gha"
	"github.com/moby/buildkit/cache/remotecache"
	inlinecache "github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/session"
)

// cacheExporters are the kinds of caches that can be written, by name. Those of
// cloud providers are in a variant of this program: see cloudcaches_linux.go.
func cacheExporters(sessions *session.Manager, hosts docker.RegistryHosts) map[string]remotecache.ResolveCacheExporterFunc {
	all := cloudExporters()
	all["registry"] = registrycache.ResolveCacheExporterFunc(sessions, hosts)
	all["local"] = localcache.ResolveCacheExporterFunc(sessions)
	all["inline"] = inlinecache.ResolveCacheExporterFunc()
	all["gha"] = gha.Exporter
	return all
}

// cacheImporters are the kinds of caches that can be read. One inside an image
// is read as a registry's.
func cacheImporters(sessions *session.Manager, blobs content.Store, hosts docker.RegistryHosts) map[string]remotecache.ResolveCacheImporterFunc {
	all := cloudImporters()
	all["registry"] = registrycache.ResolveCacheImporterFunc(sessions, blobs, hosts)
	all["local"] = localcache.ResolveCacheImporterFunc(sessions)
	all["gha"] = gha.Importer
	return all
}
