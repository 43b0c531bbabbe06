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
	maxFileBytes = 1 << 20 // far above any configuration; the file may be a fork's
)

// File is what a configuration file has for one step.
type File struct {
	Name   string         // as errors call it
	Inputs map[string]any // nil for none
}

// ReadFile returns the inputs that the configuration name, relative to dir, has
// for step. steps are the keys that are known beside version. A file that does
// not exist has none, and is an error only if it is required. Errors are usage
// errors.
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
	if file.Inputs, err = inputsOf(content, step, steps); err != nil {
		return file, fmt.Errorf("%s: %w", file.Name, err)
	}
	return file, nil
}

func inputsOf(content map[string]any, step string, steps []string) (map[string]any, error) {
	for key := range content {
		if key != "version" && !slices.Contains(steps, key) {
			return nil, fault.Usage(fmt.Errorf("unknown key %q", key), "known are version, "+alternatives(steps))
		}
	}
	version := ""
	switch v := content["version"].(type) {
	case uint64, string: // nothing nested: see yamlText
		version = fmt.Sprint(v)
	}
	if version != fmt.Sprint(fileVersion) {
		return nil, fault.Usage(fmt.Errorf("version %q is not known", version), fmt.Sprintf("write version: %d", fileVersion))
	}
	if content[step] == nil {
		return nil, nil
	}
	inputs, ok := content[step].(map[string]any)
	if !ok {
		return nil, fault.Usage(fmt.Errorf("key %s holds no inputs", step), "write one input a line below it")
	}
	return inputs, nil
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
