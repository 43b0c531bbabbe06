package build

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/imagewright/imagewright/internal/fault"
)

// locateDockerfile finds and reads the Dockerfile that the inputs file and
// target name in c. The Dockerfile of a context that only the builder sees is
// not read: a wrong target shows in the build.
func locateDockerfile(file, target string, c buildContext, s surroundings) (dockerfile, error) {
	switch {
	case isBakeFile(file):
		return dockerfile{}, fault.Usage(fmt.Errorf("input file: %s is a bake or compose file, and these are not read here", path.Base(filepath.ToSlash(file))),
			"build each of its targets by a job of its own: dockerfile, target, args and tags there are the inputs file, target, build-args and tags here")
	case c.Dockerfile != nil:
		if file != "" {
			return dockerfile{}, fault.Usage(errors.New("input file: the Dockerfile is on standard input already"), "leave file out, or pipe an archive")
		}
		return inlineDockerfile(c.Dockerfile, target)
	case file == "-":
		if c.Archive != nil {
			return dockerfile{}, fault.Usage(errors.New("input file: - is not accepted when the context is an archive"), "put the Dockerfile into the archive")
		}
		text, err := readDockerfileText(s.stdin, "standard input")
		if err != nil {
			return dockerfile{}, err
		}
		return inlineDockerfile(text, target)
	case c.remote() && !filepath.IsAbs(file):
		return remoteDockerfile(file)
	}
	return localDockerfile(file, target, c, s)
}

func inlineDockerfile(text []byte, target string) (dockerfile, error) {
	d := dockerfile{Shown: "Dockerfile on standard input", inline: true}
	return d, d.read(text, target)
}

// remoteDockerfile is a Dockerfile in a context that only the builder sees.
func remoteDockerfile(file string) (dockerfile, error) {
	name := path.Clean(filepath.ToSlash(file))
	switch {
	case file == "":
		name = "Dockerfile"
	case !fs.ValidPath(name) || name == ".":
		return dockerfile{}, fault.Usage(fmt.Errorf("input file: %q is not in the context", file), "with an address or an archive as context, file is a path in it, or an absolute one on this machine")
	}
	return dockerfile{Path: name, Shown: name, Remote: true}, nil
}

func localDockerfile(file, target string, c buildContext, s surroundings) (dockerfile, error) {
	none := dockerfile{}
	path, err := findDockerfile(file, c.Dir, s.abs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no Dockerfile at %s", s.shown(path))
		}
		hint := "file is relative to the checkout " + s.dir
		if file == "" {
			hint = "the context has none; name one with file"
		}
		return none, fault.Usage(fmt.Errorf("input file: %w", err), hint)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return none, fault.Usage(fmt.Errorf("input file: %w", err), "")
	}
	if err := s.stayInside("file", resolved); err != nil {
		return none, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return none, fault.Usage(fmt.Errorf("input file: %w", err), "")
	}
	shown := s.shown(path)
	// The engine follows a link in the Dockerfile's directory itself, and
	// .dockerignore files go by the name that was given. Out of that directory it
	// sees nothing.
	if !within(dir, resolved) {
		path = resolved
	}
	return readDockerfile(path, shown, target)
}

// isBakeFile knows the files that docker buildx bake looks for.
// https://docs.docker.com/build/bake/reference/#file-lookup
func isBakeFile(file string) bool {
	base := strings.ToLower(filepath.Base(file))
	if strings.HasSuffix(base, ".hcl") {
		return true
	}
	name, extension := strings.TrimSuffix(base, filepath.Ext(base)), filepath.Ext(base)
	switch strings.TrimSuffix(name, ".override") {
	case "docker-bake":
		return extension == ".json"
	case "compose", "docker-compose":
		return extension == ".yml" || extension == ".yaml"
	}
	return false
}
