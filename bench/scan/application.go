package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeApplication puts an application's files into dir: a Go program, sources,
// and npm's packages, all from this repository.
func makeApplication(root, dir string) error {
	for to, from := range map[string]string{
		"app/source/internal": "internal",
		"app/source/steps":    "steps",
		"app/source/docs":     "docs",
		"app/node_modules":    "bin/tools/.npm/node_modules",
	} {
		if err := copyTree(filepath.Join(dir, to), filepath.Join(root, from)); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(filepath.Join(root, "bin", "imagewright-scan"))
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(filepath.Join(dir, "app", "bin"), 0o755),
		os.WriteFile(filepath.Join(dir, "app", "bin", "imagewright-scan"), program, 0o755),
	)
}

// copyTree copies the regular files below from.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}
