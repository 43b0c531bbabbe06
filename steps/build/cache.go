package build

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/go-csvvalue"

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
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		check := kind.attrs[key]
		if check == nil {
			return none, fmt.Errorf("attribute %s is not known for type=%s; want %s", key, name, strings.Join(slices.Sorted(maps.Keys(kind.attrs)), ", "))
		}
		if err := check(attrs[key]); err != nil {
			return none, fmt.Errorf("attribute %s: %w", key, err)
		}
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

func cacheFields(record string) (map[string]string, error) {
	fields, err := csvvalue.Fields(record, nil)
	if err != nil {
		return nil, errors.New("not comma-separated NAME=VALUE")
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		fields = []string{"type=registry", "ref=" + fields[0]}
	}
	attrs := map[string]string{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, errors.New("an attribute has no value; want NAME=VALUE")
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if _, twice := attrs[key]; twice {
			return nil, fmt.Errorf("attribute %s is given twice", key)
		}
		attrs[key] = strings.TrimSpace(value)
	}
	return attrs, nil
}
