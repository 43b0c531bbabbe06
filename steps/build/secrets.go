package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/imagewright/imagewright/internal/fault"
)

// maxSecretBytes is BuildKit's own limit (secretsprovider.MaxSecretSize): a
// larger secret fails inside the build, where the message is worse.
const maxSecretBytes = 500 << 10

// quoteHint says how a secret of several lines is written.
const quoteHint = `a value of several lines stands in double quotes, with "" for a quote: "ID=line 1⏎line 2"`

// secretSources is where the values of secrets come from besides the inputs.
type secretSources struct {
	getenv func(string) string
	abs    func(string) string
	follow func(string) (string, error) // refuses what a fork's link leads to; nil refuses nothing
}

// path is where the file that the inputs call path is.
func (s secretSources) path(path string) (string, error) {
	if s.follow != nil {
		return s.follow(path)
	}
	return s.abs(path), nil
}

// secretValues returns the secrets by id. No error shows a value, nor an id
// that could be one: a line without "=" may be a bare token.
func secretValues(in Mounts, from secretSources) (map[string][]byte, error) {
	values := map[string][]byte{}
	add := func(input, id string, value []byte) error {
		switch {
		case len(value) == 0:
			return fault.Usage(fmt.Errorf("input %s: secret %q is empty", input, id), "an unset CI secret or variable looks like this; check its name and that this run may read it")
		case len(value) > maxSecretBytes:
			return fault.Usage(fmt.Errorf("input %s: secret %q has %d bytes; at most %d are accepted", input, id, len(value), maxSecretBytes), "")
		}
		if _, twice := values[id]; twice {
			return fault.Usage(fmt.Errorf("input %s: secret %q is given twice", input, id), "")
		}
		values[id] = value
		return nil
	}

	inline, err := records(in.Secrets)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input secrets: %w", err), quoteHint)
	}
	for i, record := range inline {
		id, value, ok := strings.Cut(record, "=")
		if id = strings.TrimSpace(id); !ok || !validSecretID(id) {
			return nil, fault.Usage(fmt.Errorf("input secrets: entry %d is not ID=VALUE (it is not shown)", i+1), quoteHint)
		}
		// The next lines of the key would be taken for secrets of their own.
		if strings.HasPrefix(value, "-----BEGIN ") && !strings.Contains(value, "-----END ") {
			return nil, fault.Usage(fmt.Errorf("input secrets: secret %q is only the first line of a key", id), quoteHint)
		}
		if err := add("secrets", id, []byte(value)); err != nil {
			return nil, err
		}
	}
	for _, record := range in.SecretEnvs {
		id, variable, ok := strings.Cut(record, "=")
		if !ok || !validSecretID(id) || variable == "" {
			return nil, fault.Usage(errors.New("input secret-envs: an entry is not ID=VARIABLE (it is not shown)"), "name the environment variable, not its value")
		}
		if err := add("secret-envs", id, []byte(from.getenv(variable))); err != nil {
			return nil, err
		}
	}
	for _, record := range in.SecretFiles {
		id, path, ok := strings.Cut(record, "=")
		if !ok || !validSecretID(id) || path == "" {
			return nil, fault.Usage(errors.New("input secret-files: an entry is not ID=PATH (it is not shown)"), "name the file, not its content")
		}
		path, err := from.path(path)
		var value []byte
		if err == nil {
			value, err = readSecret(path)
		}
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input secret-files: secret %q: %w", id, err), "")
		}
		if err := add("secret-files", id, value); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
}

// validSecretID tells whether id can stand in a Dockerfile's mount option. It
// also keeps what is surely no name, such as a line of a key, out of messages.
func validSecretID(id string) bool {
	const maxIDBytes = 128
	return id != "" && len(id) <= maxIDBytes && !strings.ContainsFunc(id, func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return false
		}
		return !strings.ContainsRune("._-/:@", r)
	})
}
