package input

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

// ReadFile returns the inputs that the configuration at path has for step, nil
// when it has none. steps are the keys that are known beside version. A file that does not exist is nil without an error, unless
// required. Errors are usage errors.
func ReadFile(path string, required bool, step string, steps []string) (map[string]any, error) {
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("read the configuration: %w", err), "check the input config")
	}
	var file map[string]any
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fault.Usage(fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true)), "")
	}
	for key := range file {
		if key != "version" && !slices.Contains(steps, key) {
			return nil, fault.Usage(fmt.Errorf("%s: unknown key %q", path, key), fmt.Sprintf("known are version, %s", alternatives(steps)))
		}
	}
	if v := fmt.Sprint(file["version"]); v != fmt.Sprint(fileVersion) {
		return nil, fault.Usage(fmt.Errorf("%s: version %q is not known", path, v), fmt.Sprintf("write version: %d", fileVersion))
	}
	if file[step] == nil {
		return nil, nil
	}
	inputs, ok := file[step].(map[string]any)
	if !ok {
		return nil, fault.Usage(fmt.Errorf("%s: key %s holds no inputs", path, step), "write one input a line below it")
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
