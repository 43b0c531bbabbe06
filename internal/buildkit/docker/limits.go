package docker

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagewright/imagewright/internal/fault"
)

// Needs is what a build asks of an engine's own BuildKit that not every engine
// can do.
type Needs struct {
	Platforms []string // that are given
	CacheFrom []string // types of the caches to read, such as registry
	CacheTo   []string // types of the caches to write
	Attest    []string // names of the inputs that ask for attestations
}

// caches are the types that an engine can read and write.
// https://github.com/moby/moby/blob/docker-v29.0.0/daemon/internal/builder-next/controller.go
var caches = map[Store]struct{ from, to []string }{
	Classic:    {from: []string{"registry", "local"}, to: []string{"inline"}},
	Containerd: {from: []string{"registry", "local", "gha"}, to: []string{"inline", "registry", "local", "gha"}},
}

// Check returns what of n the engine's own BuildKit cannot do: a usage error for
// each input, joined, that names it, the reason and another way. What depends on
// BuildKit's version is not looked at: it says that itself, in its capabilities.
func (e *Engine) Check(n Needs) error {
	known := caches[e.store]
	var errs []error
	refuse := func(input, can string) {
		errs = append(errs, fault.Usage(fmt.Errorf("%s: %s %s", input, e.describe(), can), e.alternative()))
	}
	if e.store == Classic && len(n.Platforms) > 1 {
		refuse("platforms", "makes images for one platform at a time")
	}
	for _, c := range []struct {
		input, verb  string
		given, known []string
	}{
		{"cache-from", "reads", n.CacheFrom, known.from},
		{"cache-to", "writes", n.CacheTo, known.to},
	} {
		unknown := func(kind string) bool { return !slices.Contains(c.known, kind) }
		if slices.ContainsFunc(c.given, unknown) {
			refuse(c.input, fmt.Sprintf("%s only caches of type=%s", c.verb, strings.Join(c.known, ", ")))
		}
	}
	if e.store == Classic {
		for _, input := range n.Attest {
			refuse(input, "makes no attestations")
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) describe() string {
	if e.store == Classic {
		return "a Docker Engine with its classic image store"
	}
	return "a Docker Engine"
}

func (e *Engine) alternative() string {
	if e.store == Classic {
		return "use builder=embedded or docker-privileged, or turn the engine's containerd image store on"
	}
	return "use builder=embedded or docker-privileged"
}
