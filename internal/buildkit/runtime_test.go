package buildkit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// putRuntime writes a program that prints help.
func putRuntime(t *testing.T, path, help string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+help+"'\n"), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestARuntimeIsTakenFromPATHThenFromBesideTheProgram(t *testing.T) {
	onPath, beside := t.TempDir(), t.TempDir()
	putRuntime(t, filepath.Join(onPath, "runc"), "", 0o644) // not executable
	program := filepath.Join(beside, "imagewright-build")
	env := map[string]string{"PATH": "relative:" + onPath}
	for _, path := range []string{
		filepath.Join(beside, "bin", "crun"),
		filepath.Join(beside, "crun"),
		filepath.Join(onPath, "crun"),
		filepath.Join(beside, "bin", "runc"),
		filepath.Join(beside, "runc"),
	} {
		putRuntime(t, path, "--keep", 0o755) // is found before the ones that are there already
		if got, err := findRuntime(t.Context(), "", env, program); got != path {
			t.Errorf("findRuntime() = %q, %v; want %q", got, err, path)
		}
	}
}

func TestACrunThatIsTooOldIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	old := putRuntime(t, filepath.Join(dir, "crun"), "--detach --pid-file", 0o755)
	for _, named := range []string{"", old} {
		_, err := findRuntime(t.Context(), named, map[string]string{"PATH": dir}, "")
		if !errors.Is(err, ErrNoRuntime) || !strings.Contains(err.Error(), old+" is older than crun 1.15") {
			t.Errorf("findRuntime(%q) = %v; want ErrNoRuntime and why", named, err)
		}
	}
	newer := putRuntime(t, filepath.Join(dir, "runc"), "", 0o755)
	if got, err := findRuntime(t.Context(), "", map[string]string{"PATH": dir}, ""); got != newer {
		t.Errorf("findRuntime() = %q, %v; want %q", got, err, newer)
	}
}
