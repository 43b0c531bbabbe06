package analysis

import (
	"maps"
	"slices"
	"strings"
)

// tree holds what was found in the files of an image, by path, as one layer
// after the other changes it.
type tree struct {
	children map[string]*tree
	found    map[string]any // by kind
}

func (t *tree) set(path, kind string, v any) {
	for name := range strings.SplitSeq(path, "/") {
		child := t.children[name]
		if child == nil {
			child = &tree{}
			if t.children == nil {
				t.children = map[string]*tree{}
			}
			t.children[name] = child
		}
		t = child
	}
	if t.found == nil {
		t.found = map[string]any{}
	}
	t.found[kind] = v
}

// drop forgets one kind at path.
func (t *tree) drop(path, kind string) {
	for name := range strings.SplitSeq(path, "/") {
		if t = t.children[name]; t == nil {
			return
		}
	}
	delete(t.found, kind)
}

// delete forgets path and all below. "" is the root.
func (t *tree) delete(path string) {
	if path == "" {
		*t = tree{}
		return
	}
	dir, last := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, last = path[:i], path[i+1:]
		for name := range strings.SplitSeq(dir, "/") {
			if t = t.children[name]; t == nil {
				return
			}
		}
	}
	delete(t.children, last)
}

// each calls do for all that is left, in the order of paths and kinds.
func (t *tree) each(do func(v any)) {
	for _, kind := range slices.Sorted(maps.Keys(t.found)) {
		do(t.found[kind])
	}
	for _, name := range slices.Sorted(maps.Keys(t.children)) {
		t.children[name].each(do)
	}
}
