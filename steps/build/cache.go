package build

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/fault"
)

// addCaches reads cache-to and cache-from.
func (p *plan) addCaches(in *Inputs, s surroundings) (err error) {
	if p.cacheTo, err = cacheEntries("cache-to", in.CacheTo, s); err != nil {
		return err
	}
	from, err := cacheEntries("cache-from", in.CacheFrom, s)
	if err != nil {
		return err
	}
	for _, entry := range from {
		// BuildKit would make the directory and then warn in words of its own.
		if src := entry.Attrs["src"]; src != "" {
			if _, err := os.Stat(filepath.Join(src, "index.json")); err != nil {
				s.log("cache-from: nothing at " + s.shown(src) + " yet")
				continue
			}
		}
		p.cacheFrom = append(p.cacheFrom, entry)
	}
	return nil
}

// cacheEntries reads the records of cache-from or cache-to.
func cacheEntries(input string, records []string, s surroundings) ([]client.CacheOptionsEntry, error) {
	export := input == "cache-to"
	var entries []client.CacheOptionsEntry
	seen := map[string]bool{}
	for i, record := range records {
		// The record is not shown: it may hold a key.
		refuse := func(err error) error {
			return fault.Usage(fmt.Errorf("input %s, entry %d: %w", input, i+1, err), fault.Hint(err))
		}
		entry, err := cacheEntry(record, export, s.getenv)
		if err != nil {
			return nil, refuse(err)
		}
		for _, key := range []string{"src", "dest"} {
			if path := entry.Attrs[key]; path != "" {
				entry.Attrs[key] = s.abs(path)
			}
		}
		if to := place(entry); export && seen[to] {
			return nil, refuse(errors.New("a cache is already written there"))
		} else {
			seen[to] = true
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// place is where a cache is: two in one place would overwrite each other.
func place(entry client.CacheOptionsEntry) string {
	parts := []string{entry.Type}
	for _, key := range []string{"ref", "dest", "tag", "scope", "bucket", "container", "account_url", "endpoint_url", "prefix", "name"} {
		parts = append(parts, entry.Attrs[key])
	}
	return strings.Join(parts, "\x00")
}

// cacheEntry reads one record: NAME=VALUE with commas between, or a reference
// alone, which build-push-action takes for a registry cache.
func cacheEntry(record string, export bool, getenv func(string) string) (client.CacheOptionsEntry, error) {
	none := client.CacheOptionsEntry{}
	attrs, err := cacheFields(record)
	if err != nil {
		return none, err
	}
	name := attrs["type"]
	delete(attrs, "type")
	kind, err := cacheKindOf(name, export)
	if err != nil {
		return none, err
	}
	if err := checkAttrs(name, attrs, kind.attrs, ""); err != nil {
		return none, err
	}
	if kind.complete != nil {
		if err := kind.complete(attrs, getenv); err != nil {
			return none, err
		}
	}
	for _, key := range kind.needed {
		if attrs[key] == "" {
			return none, fmt.Errorf("attribute %s is missing", key)
		}
	}
	return client.CacheOptionsEntry{Type: name, Attrs: attrs}, nil
}

// cacheFields reads a record. A lone reference is that of a registry cache, as
// docker/build-push-action has it.
func cacheFields(record string) (map[string]string, error) {
	if !strings.Contains(record, "=") {
		record = "type=registry,ref=" + record
	}
	return csvAttrs(record)
}
