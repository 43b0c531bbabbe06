package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSameSourcesSameDigestFromColdAndWarmState(t *testing.T) {
	text := "FROM base\nWORKDIR /app\nCOPY . .\nRUN date > stamp && cat a > b && rm stamp\n"
	build := func(dir, state string) string {
		return run{dir: dir, state: state, args: []string{useBase(t)}}.mustBuild(t).stdout
	}
	first := checkout(t, map[string]string{"Dockerfile": text, "a": "1"})
	state := t.TempDir()
	cold := build(first, state)
	// Files of another date in another place, a state that knows an older version.
	second := checkout(t, map[string]string{"Dockerfile": text, "a": "older"})
	warm := t.TempDir()
	build(second, warm)
	if err := os.WriteFile(filepath.Join(second, "a"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := build(second, warm); got != cold {
		t.Errorf("a warm state makes %s, a cold one %s", got, cold)
	}
	blobs := tree(t, filepath.Join(first, ".imagewright"), "image")
	if got := build(first, state); got != cold {
		t.Errorf("the same build again makes %s, before it was %s", got, cold)
	}
	if diff := cmp.Diff(blobs, tree(t, filepath.Join(first, ".imagewright"), "image")); diff != "" {
		t.Errorf("the same build again wrote the layout (-before +after):\n%s", diff)
	}
}

func TestOneChangedFileTouchesOneLayer(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM base\nCOPY big /big\nRUN echo once\nCOPY small /small\n", "small": "1", "big": strings.Repeat("x", 5<<20)})
	r := run{dir: dir, state: t.TempDir(), args: []string{useBase(t)}}
	r.mustBuild(t)
	before := tree(t, filepath.Join(dir, ".imagewright"), "image/blobs")
	if err := os.WriteFile(filepath.Join(dir, "small"), []byte("22"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := r.mustBuild(t)
	if got := layerFiles(t, built(t, dir))["small"]; got != "22" {
		t.Errorf("the image has %q in small, want 22", got)
	}
	if !strings.Contains(o.stderr, "steps=3 cached=2") || !strings.Contains(o.stderr, "changed=true") {
		t.Errorf("the log does not say that two steps of three were cached and the image changed:\n%s", o.stderr)
	}
	after := tree(t, filepath.Join(dir, ".imagewright"), "image/blobs")
	kept, gone := 0, 0
	for path, what := range before {
		if after[path] == what {
			kept++
		} else if after[path] == "" {
			gone++
		} else {
			t.Errorf("%s was written again", path)
		}
	}
	if gone != 3 || len(after) != kept+3 { // layer, config, manifest
		t.Errorf("%d blobs kept, %d removed, %d now; want three replaced", kept, gone, len(after))
	}
}
