package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imagewright/imagewright/internal/manifest"
)

// actionlint reads the metadata of "./" actions, so a workflow that uses every
// input and output of all of them checks these as GitHub would read them.
func TestAWorkflowWithEveryInputPassesActionlint(t *testing.T) {
	actionlint, err := filepath.Abs(filepath.Join(root, "bin", "tools", "actionlint"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(actionlint); err != nil {
		t.Fatalf("%v: run make tools first", err)
	}
	steps, err := describeAll()
	if err != nil {
		t.Fatal(err)
	}
	workflow, err := manifest.Workflow(steps)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "actions"), os.DirFS(filepath.Join(root, "actions"))); err != nil {
		t.Fatal(err)
	}
	pipeline, err := os.ReadFile(filepath.Join(root, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ".github", "workflows", "all.yml")
	for name, content := range map[string][]byte{
		filepath.Join(dir, "action.yml"):   pipeline,
		path:                               workflow,
		filepath.Join(dir, ".git", "HEAD"): []byte("ref: refs/heads/main\n"), // where actionlint looks for the project's root
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lint := exec.Command(actionlint, "-no-color", "-shellcheck=", path)
	lint.Dir = dir
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s\n%s", err, out, workflow)
	}
}
