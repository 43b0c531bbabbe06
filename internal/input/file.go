package input

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/imagewright/imagewright/internal/fault"
)

// FileName is the configuration's name in the checkout's root.
const FileName = "imagewright.yaml"

const (
	fileVersion  = 1
	environments = "environments" // the key of what is no step's
	maxFileBytes = 1 << 20        // far above any configuration; the file may be a fork's
)

// File is what a configuration file has for one step.
type File struct {
	Name         string                    // as errors call it; empty before any file is looked for
	Inputs       map[string]any            // nil for none
	Environments map[string]map[string]any // inputs, by the environment's name
}

// ReadFile returns the inputs that the configuration name, relative to dir, has
// for step, and its environments. steps are the keys that are known beside
// version and environments. A file that does not exist has none, and is an error
// only if it is required. Errors are usage errors.
func ReadFile(dir, name string, required bool, step string, steps []string) (File, error) {
	file := File{Name: name}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	data, err := readBounded(name)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return file, nil
	}
	if err != nil {
		return file, fault.Usage(fmt.Errorf("read the configuration: %w", err), "check the input config")
	}
	var content map[string]any
	if err := yaml.Unmarshal(data, &content); err != nil {
		// Without the excerpt: there may be a secret in it.
		return file, fault.Usage(fmt.Errorf("%s: %s", file.Name, yaml.FormatError(err, false, false)), "")
	}
	if err := checkKeys(content, steps); err != nil {
		return file, fmt.Errorf("%s: %w", file.Name, err)
	}
	if file.Inputs, err = inputsOf(content[step], step); err != nil {
		return file, fmt.Errorf("%s: %w", file.Name, err)
	}
	if file.Environments, err = environmentsOf(content[environments]); err != nil {
		return file, fmt.Errorf("%s: %w", file.Name, err)
	}
	return file, nil
}

func checkKeys(content map[string]any, steps []string) error {
	for key := range content {
		if key != "version" && key != environments && !slices.Contains(steps, key) {
			return fault.Usage(fmt.Errorf("unknown key %q", key), "known are version, environments, "+alternatives(steps))
		}
	}
	version := ""
	switch v := content["version"].(type) {
	case uint64, string: // nothing nested: see yamlText
		version = fmt.Sprint(v)
	}
	if version != fmt.Sprint(fileVersion) {
		return fault.Usage(fmt.Errorf("version %q is not known", version), fmt.Sprintf("write version: %d", fileVersion))
	}
	return nil
}

// inputsOf is what stands below key; nil for nothing.
func inputsOf(value any, key string) (map[string]any, error) {
	if value == nil {
		return nil, nil
	}
	inputs, ok := value.(map[string]any)
	if !ok {
		return nil, fault.Usage(fmt.Errorf("key %s holds no inputs", key), "write one input a line below it")
	}
	return inputs, nil
}

func environmentsOf(value any) (map[string]map[string]any, error) {
	if value == nil {
		return nil, nil
	}
	named, ok := value.(map[string]any)
	if !ok {
		return nil, fault.Usage(fmt.Errorf("key %s holds no environments", environments), "write the name of one a line below it, and its inputs below that")
	}
	all := map[string]map[string]any{}
	for name, value := range named {
		inputs, err := inputsOf(value, environments+"."+name)
		if err != nil {
			return nil, err
		}
		all[name] = inputs
	}
	return all, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFileBytes)
	}
	return data, err
}
