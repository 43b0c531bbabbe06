package differential

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
)

// agreement is differences.yaml: where the two programs shall differ.
type agreement struct {
	entries []*entry
	mu      sync.Mutex // guards used of each
}

// An entry agrees to differences. Names, places and values are globs: * stands
// for anything.
type entry struct {
	Image  string            `yaml:"image"`
	Side   string            `yaml:"side"` // ours, trivy, or both
	What   map[string]string `yaml:"what"` // kind, class, type, target, name, version, path, id, field, value
	Reason string            `yaml:"reason"`

	used bool
}

func (e *entry) String() string { return fmt.Sprintf("%s, %s, %v", e.Image, e.Side, e.What) }

func readAgreement(t *testing.T) *agreement {
	t.Helper()
	content, err := os.ReadFile("differences.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []*entry
	if err := yaml.UnmarshalWithOptions(content, &all, yaml.Strict()); err != nil {
		t.Fatalf("differences.yaml: %s", yaml.FormatError(err, false, true))
	}
	for _, e := range all {
		if e.Image == "" || len(e.What) == 0 || e.Reason == "" || !slices.Contains([]string{sideOurs, sideTrivy, "both"}, e.Side) {
			t.Fatalf("differences.yaml: an entry needs an image, a side (ours, trivy or both), what, and a reason: %s", e)
		}
		for key := range e.What {
			if _, ok := (difference{}).attributes()[key]; !ok {
				t.Fatalf("differences.yaml: what has an unknown key %q: %s", key, e)
			}
		}
	}
	return &agreement{entries: all}
}

// unused are the entries that no image needed.
func (a *agreement) unused() []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.entries), func(e *entry) bool { return e.used })
}

// apply returns the differences of an image that nobody agreed to.
func (a *agreement) apply(image string, all []difference) []difference {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(all, func(d difference) bool {
		known := false
		for _, e := range a.entries { // all that match are needed: entries may overlap
			if e.matches(image, d) {
				e.used, known = true, true
			}
		}
		return known
	})
}

func (e *entry) matches(image string, d difference) bool {
	if !glob(e.Image, image) || e.Side != "both" && e.Side != d.Side {
		return false
	}
	attributes := d.attributes()
	for key, pattern := range e.What {
		if !glob(pattern, attributes[key]) {
			return false
		}
	}
	return true
}

// attributes are what an entry can name.
func (d difference) attributes() map[string]string {
	return map[string]string{
		"kind": d.Kind, "class": d.Class, "type": d.Type, "target": d.Target,
		"name": d.Name, "version": d.Version, "path": d.Path, "id": d.ID,
		"field": d.Field, "value": d.Value,
	}
}

// glob matches s, in which * of the pattern stands for anything.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	matched, err := regexp.MatchString("(?s)^"+strings.Join(parts, ".*")+"$", s)
	return err == nil && matched
}
