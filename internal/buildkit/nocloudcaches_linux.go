//go:build !caches

package buildkit

import "github.com/moby/buildkit/cache/remotecache"

// CloudCaches says whether this program can keep caches in S3 and in Azure's
// blob storage: only one built with the tag caches can, as their client
// libraries are 9 MB.
const CloudCaches = false

func cloudExporters() map[string]remotecache.ResolveCacheExporterFunc {
	return map[string]remotecache.ResolveCacheExporterFunc{}
}

func cloudImporters() map[string]remotecache.ResolveCacheImporterFunc {
	return map[string]remotecache.ResolveCacheImporterFunc{}
}
