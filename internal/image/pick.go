package image

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// candidate is an image among those of a layout or archive.
type candidate struct {
	id    string   // what makes it another image than the others
	names []string // may be empty
	at    int
}

// names of a root: containerd's annotation has the whole reference, OCI's
// often the tag alone.
func rootNames(d v1.Descriptor) []string {
	var names []string
	for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
		if n := d.Annotations[key]; n != "" {
			names = append(names, n)
		}
	}
	return names
}

// pick returns the root asked for, or the only one, and its name.
func (o Options) pick(p place, roots []v1.Descriptor) (v1.Descriptor, string, error) {
	all := make([]candidate, len(roots))
	for i, d := range roots {
		all[i] = candidate{id: d.Digest.String(), names: rootNames(d), at: i}
	}
	c, err := choose(p, all, o.Name)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	return roots[c.at], c.called(o.Name), nil
}

func (o Options) pickDocker(p place, entries []dockerEntry) (dockerEntry, string, error) {
	all := make([]candidate, len(entries))
	for i, e := range entries {
		all[i] = candidate{id: e.Config, names: e.RepoTags, at: i}
	}
	c, err := choose(p, all, o.Name)
	if err != nil {
		return dockerEntry{}, "", err
	}
	return entries[c.at], c.called(o.Name), nil
}

// choose returns the candidate called want, or the only one when want is "".
func choose(p place, all []candidate, want string) (candidate, error) {
	if len(all) == 0 {
		return candidate{}, p.damaged("", "holds no image")
	}
	matching := all
	if want != "" {
		matching = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !c.is(want) })
	}
	switch {
	case len(matching) == 0:
		return candidate{}, fault.Usage(fmt.Errorf("%s: has no image %q; it has %s", p.name, want, list(all)), "name one of them")
	case slices.ContainsFunc(matching, func(c candidate) bool { return c.id != matching[0].id }):
		return candidate{}, fault.Usage(fmt.Errorf("%s: holds several images: %s", p.name, list(matching)), "name one of them")
	}
	return matching[0], nil
}

// is compares names as references, so that app and docker.io/library/app:latest
// are the same.
func (c candidate) is(want string) bool {
	if c.id == want {
		return true
	}
	for _, n := range c.names {
		if n == want {
			return true
		}
		a, errA := name.ParseReference(n)
		b, errB := name.ParseReference(want)
		if errA == nil && errB == nil && a.Name() == b.Name() {
			return true
		}
	}
	return false
}

// called is the name to show: the one asked for if it is one, else the first.
func (c candidate) called(want string) string {
	if slices.Contains(c.names, want) {
		return want
	}
	if len(c.names) > 0 {
		return c.names[0]
	}
	return ""
}

// list names at most ten candidates; the names are the archive's, so quoted.
func list(all []candidate) string {
	var b strings.Builder
	for i, c := range all[:min(len(all), 10)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", cmp.Or(c.called(""), c.id))
	}
	if len(all) > 10 {
		fmt.Fprintf(&b, " and %d more", len(all)-10)
	}
	return b.String()
}
