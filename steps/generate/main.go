// Command generate writes the files that are made from the declared inputs:
// actions/, action.yml, gitlab-templates/, docs/inputs/ and the schema of
// imagewright.yaml. `make generate` runs it in the repository's root.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/imagewright/imagewright/internal/manifest"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/build"
	"github.com/imagewright/imagewright/steps/prune"
	"github.com/imagewright/imagewright/steps/push"
	"github.com/imagewright/imagewright/steps/scan"
	"github.com/imagewright/imagewright/steps/tag"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run writes every generated file below root.
func run(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// describeAll returns every step, in the order of the pipeline.
func describeAll() ([]manifest.Step, error) {
	var steps []manifest.Step
	for _, s := range []step.Step{&build.Step{}, &scan.Step{}, &tag.Step{}, &push.Step{}, &prune.Step{}} {
		described, err := manifest.Describe(s)
		if err != nil {
			return nil, err
		}
		steps = append(steps, described)
	}
	return steps, nil
}

// generate returns the files, by their path below root, for the release that
// root's actions/release.yaml names.
func generate(root string) (map[string][]byte, error) {
	data, err := os.ReadFile(filepath.Join(root, "actions", "release.yaml"))
	if err != nil {
		return nil, err
	}
	var release manifest.Release
	if err := yaml.UnmarshalWithOptions(data, &release, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("actions/release.yaml: %w", err)
	}
	steps, err := describeAll()
	if err != nil {
		return nil, err
	}
	return manifest.Files(steps, release)
}
