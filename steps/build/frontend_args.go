package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/docker/cli/pkg/kvfile"

	"github.com/imagewright/imagewright/internal/fault"
)

// fileArgs reads the files of build-args-file; the later one wins. The format
// is that of docker run --env-file: NAME=VALUE lines, values as they are, # for
// comments, and a name alone for the environment's value.
func fileArgs(paths []string, s surroundings) (map[string]string, error) {
	args := map[string]string{}
	for _, path := range paths {
		text, err := readArgs(path, s)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input build-args-file: %w", err), "build-args-file is relative to the checkout "+s.dir)
		}
		lines, err := kvfile.ParseFromReader(bytes.NewReader(text), func(name string) (string, bool) {
			value := s.getenv(name)
			return value, value != "" // as with build-args
		})
		if err != nil { // it quotes the line
			return nil, fault.Usage(fmt.Errorf("input build-args-file: %s has a line that is not NAME=VALUE (it is not shown)", s.shown(s.abs(path))), "a value stands on one line, without quotes; a comment begins with #")
		}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, "=")
			args[name] = value
		}
	}
	return args, nil
}

func readArgs(path string, s surroundings) ([]byte, error) {
	const maxBytes = 1 << 20 // the frontend gets all arguments in one message
	resolved, err := s.follow(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(resolved)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a file", s.shown(s.abs(path))))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(text) > maxBytes {
		err = fmt.Errorf("%s has more than %d MiB", s.shown(s.abs(path)), maxBytes>>20)
	}
	return text, err
}

// takeInlineCache tells whether args ask for the cache in the image itself, as
// they did before there was cache-to, and takes that argument out.
func takeInlineCache(args map[string]string) bool {
	const name = "BUILDKIT_INLINE_CACHE"
	asked, _ := strconv.ParseBool(args[name])
	delete(args, name)
	return asked
}

// ignoredVariables says which variables that docker build heeds mean nothing
// here.
func ignoredVariables(getenv func(string) string) []string {
	var notes []string
	if use, err := strconv.ParseBool(getenv("DOCKER_BUILDKIT")); err == nil && !use {
		notes = append(notes, "DOCKER_BUILDKIT=0 is ignored: BuildKit is what builds here")
	}
	for _, v := range []struct{ name, input string }{{"BUILDX_BUILDER", "builder"}, {"DOCKER_DEFAULT_PLATFORM", "platforms"}} {
		if getenv(v.name) != "" {
			notes = append(notes, v.name+" is ignored; the input is "+v.input)
		}
	}
	return notes
}
