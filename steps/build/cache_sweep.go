package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// sweepAge is how old a blob of a local cache is at least that is removed:
	// another build may write to the same directory, its index last.
	sweepAge = time.Hour

	// maxCacheIndex bounds an index of a local cache, in bytes. Each of the
	// thousands of layers that a large cache has takes 0.5 kB.
	maxCacheIndex = 16 << 20
)

// sweepCaches removes from the local caches among entries, after they were
// written, what none of their tags needs any more: BuildKit only ever adds.
func sweepCaches(entries []client.CacheOptionsEntry, now time.Time) error {
	var all []error
	for _, entry := range entries {
		if dir := entry.Attrs["dest"]; entry.Type == "local" && dir != "" {
			if err := sweepCache(dir, now.Add(-sweepAge)); err != nil {
				all = append(all, fmt.Errorf("remove old layers from the cache in %s: %w", dir, err))
			}
		}
	}
	return errors.Join(all...)
}

func sweepCache(dir string, before time.Time) error {
	root, err := os.OpenRoot(dir) // the directory came from a CI's cache: no link leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	needed := map[digest.Digest]bool{}
	if err := markIndex(root, "index.json", needed); err != nil {
		return err
	}
	const blobs = "blobs/sha256"
	files, err := fs.ReadDir(root.FS(), blobs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range files {
		blob := digest.NewDigestFromEncoded(digest.SHA256, file.Name())
		if blob.Validate() != nil || needed[blob] || !file.Type().IsRegular() {
			continue
		}
		info, err := file.Info()
		if err != nil || info.ModTime().After(before) {
			continue // gone already, or too young
		}
		if err := root.Remove(path.Join(blobs, file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// markIndex adds what the index or manifest in file name names, and what is
// named by that.
func markIndex(root *os.Root, name string, needed map[digest.Digest]bool) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var index struct { // an index and a manifest in one: a cache may be either
		Manifests []ocispecs.Descriptor `json:"manifests"`
		Config    ocispecs.Descriptor   `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCacheIndex+1))
	if err == nil && len(text) > maxCacheIndex {
		err = fmt.Errorf("larger than %d bytes", maxCacheIndex)
	}
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, d := range append(index.Layers, index.Config) {
		needed[d.Digest] = true
	}
	for _, d := range index.Manifests {
		seen := needed[d.Digest]
		needed[d.Digest] = true
		// The layers and the records of a cache stand in its index as manifests do.
		if kind := types.MediaType(d.MediaType); !seen && (kind.IsIndex() || kind.IsImage()) {
			if err := d.Digest.Validate(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := markIndex(root, path.Join("blobs", d.Digest.Algorithm().String(), d.Digest.Encoded()), needed); err != nil {
				return err
			}
		}
	}
	return nil
}
