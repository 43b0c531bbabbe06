package checkout

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/source"
)

// What tag and build read of a checkout is what was asked for.
func TestCommitIsReadAsAClone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	first, err := Commit(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2023, 11, 25, 12, 0, 0, 0, time.UTC)
	second, err := Commit(dir, Options{Tag: "v1.2.3", When: when})
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Errorf("two commits, both %s", first)
	}
	facts, err := source.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Revision != second || !facts.Date.Equal(when) || facts.Branch != "main" || facts.DefaultBranch != "main" || len(facts.Tags) != 1 {
		t.Errorf("read %+v, want commit %s of %s on main with one tag", facts, second, when)
	}
}
