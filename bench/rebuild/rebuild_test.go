package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissingPeerIsNamedWithItsPackage(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "imagewright-build"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(root, "nothing"))
	_, err := findPrograms(root)
	if err == nil || !strings.Contains(err.Error(), "apt-get install --no-install-recommends docker.io") {
		t.Errorf("without dockerd on PATH: %v; it should name the package docker.io", err)
	}
}
