package build

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/imagewright/imagewright/internal/fault"
)

// checkAttr says what is wrong with an attribute's value, nil for nothing.
type checkAttr func(value string) error

// cacheAttrs are the attributes that are accepted, by type and direction.
// BuildKit ignores a misspelt one, and takes a misspelt mode for min, without a
// word. Its compression attributes are left out: a layer that comes from such a
// cache has other bytes than one that is built, and so has the image.
func cacheAttrs(kind string, export bool) map[string]checkAttr {
	registry := map[string]checkAttr{"ref": isReference}
	local := map[string]checkAttr{"tag": notEmpty}
	if export {
		for _, attrs := range []map[string]checkAttr{registry, local} {
			attrs["mode"] = oneOf("min", "max")
			attrs["ignore-error"] = isBool
			attrs["oci-mediatypes"] = isBool
			attrs["image-manifest"] = isBool
		}
		local["dest"] = notEmpty
		local["reset"] = isBool
	} else {
		local["src"] = notEmpty
		local["digest"] = isDigest
	}
	switch kind {
	case "registry":
		return registry
	case "local":
		return local
	}
	return nil
}

// addCaches reads cache-to and cache-from.
func (p *plan) addCaches(in *Inputs, s surroundings) (err error) {
	if p.cacheTo, err = cacheEntries("cache-to", in.CacheTo, s.abs); err != nil {
		return err
	}
	from, err := cacheEntries("cache-from", in.CacheFrom, s.abs)
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

// cacheEntries reads the records of cache-from or cache-to. abs makes the
// directories of local caches absolute.
func cacheEntries(input string, records []string, abs func(string) string) ([]client.CacheOptionsEntry, error) {
	export := input == "cache-to"
	var entries []client.CacheOptionsEntry
	seen := map[string]bool{}
	for i, record := range records {
		// The record is not shown: those of other types hold keys and tokens.
		refuse := func(err error) error {
			return fault.Usage(fmt.Errorf("input %s, entry %d: %w", input, i+1, err), "")
		}
		entry, err := cacheEntry(record, export)
		if err != nil {
			return nil, refuse(err)
		}
		for _, key := range []string{"src", "dest"} {
			if path := entry.Attrs[key]; path != "" {
				entry.Attrs[key] = abs(path)
			}
		}
		to := entry.Type + ":" + entry.Attrs["ref"] + entry.Attrs["dest"]
		if export && seen[to] {
			return nil, refuse(errors.New("a cache is already written there"))
		}
		seen[to] = true
		entries = append(entries, entry)
	}
	return entries, nil
}

func cacheEntry(record string, export bool) (client.CacheOptionsEntry, error) {
	none := client.CacheOptionsEntry{}
	fields, err := csvvalue.Fields(record, nil)
	if err != nil {
		return none, errors.New("not comma-separated NAME=VALUE")
	}
	// build-push-action takes a lone reference for a registry cache.
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		fields = []string{"type=registry", "ref=" + fields[0]}
	}
	attrs := map[string]string{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return none, errors.New("an attribute has no value; want NAME=VALUE")
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if _, twice := attrs[key]; twice {
			return none, fmt.Errorf("attribute %s is given twice", key)
		}
		attrs[key] = strings.TrimSpace(value)
	}
	kind := attrs["type"]
	delete(attrs, "type")
	known := cacheAttrs(kind, export)
	if known == nil {
		return none, fmt.Errorf("type %q is not accepted; want registry or local", kind)
	}
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		check := known[key]
		if check == nil {
			return none, fmt.Errorf("attribute %s is not known for type=%s; want %s", key, kind, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := check(attrs[key]); err != nil {
			return none, fmt.Errorf("attribute %s: %w", key, err)
		}
	}
	needed := map[string]string{"registry": "ref", "local": "src"}[kind]
	if kind == "local" && export {
		needed = "dest"
	}
	if attrs[needed] == "" {
		return none, fmt.Errorf("attribute %s is missing", needed)
	}
	return client.CacheOptionsEntry{Type: kind, Attrs: attrs}, nil
}

func oneOf(accepted ...string) checkAttr {
	return func(value string) error {
		if slices.Contains(accepted, value) {
			return nil
		}
		return fmt.Errorf("%q is not accepted; want %s", value, strings.Join(accepted, " or "))
	}
}

func isBool(value string) error {
	if _, err := strconv.ParseBool(value); err != nil {
		return fmt.Errorf("%q is not accepted; want true or false", value)
	}
	return nil
}

func notEmpty(value string) error {
	if value == "" {
		return errors.New("it is empty")
	}
	return nil
}

func isDigest(value string) error {
	if _, err := digest.Parse(value); err != nil {
		return fmt.Errorf("%q is not a digest", value)
	}
	return nil
}

func isReference(value string) error {
	if _, err := reference.ParseNormalizedNamed(value); err != nil {
		return fmt.Errorf("%q is not an image reference", value)
	}
	return nil
}
