//go:build caches

package buildkit

import (
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/azblob"
	"github.com/moby/buildkit/cache/remotecache/s3"
)

// CloudCaches says whether this program can keep caches in S3 and in Azure's
// blob storage: only one built with the tag caches can, as their client
// libraries are 9 MB.
const CloudCaches = true

func cloudExporters() map[string]remotecache.ResolveCacheExporterFunc {
	return map[string]remotecache.ResolveCacheExporterFunc{
		"s3":     s3.ResolveCacheExporterFunc(),
		"azblob": azblob.ResolveCacheExporterFunc(),
	}
}

func cloudImporters() map[string]remotecache.ResolveCacheImporterFunc {
	return map[string]remotecache.ResolveCacheImporterFunc{
		"s3":     s3.ResolveCacheImporterFunc(),
		"azblob": azblob.ResolveCacheImporterFunc(),
	}
}
