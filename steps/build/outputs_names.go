package build

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// imageNames reads references that an image can have: with a tag (latest, when
// none is given) and without a digest, which nobody can choose.
func imageNames(texts []string) ([]reference.NamedTagged, error) {
	var names []reference.NamedTagged
	for _, text := range texts {
		named, err := reference.ParseNormalizedNamed(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q is not an image reference", text)
		}
		if _, ok := named.(reference.Digested); ok {
			return nil, fmt.Errorf("%q has a digest, which is not for us to choose", text)
		}
		tagged := reference.TagNameOnly(named).(reference.NamedTagged)
		if !slices.ContainsFunc(names, func(n reference.NamedTagged) bool { return n.String() == tagged.String() }) {
			names = append(names, tagged)
		}
	}
	return names, nil
}

// note says what to do about an output that is another step's to make; "" for
// one that build makes.
func (o output) note() string {
	isTrue := func(key string) bool { b, err := strconv.ParseBool(o.attrs[key]); return err == nil && b }
	switch {
	case o.kind != "image" && o.kind != "registry":
		return ""
	case isTrue("push-by-digest"):
		return "nothing is pushed by digest, because jobs hand over their layouts: imagewright-build merge --sources=LAYOUT… makes one index of them, and then " + pushCommands(o.names)
	case o.kind == "registry" || isTrue("push"):
		return pushNote(o.names)
	}
	return "type=image: the image lands in the workspace's layout, and in no engine"
}

func pushNote(names []reference.NamedTagged) string {
	return "build has no right to push; this pushes the image: " + pushCommands(names)
}

// pushCommands are the calls of push that give the image its names, one for all
// repositories that get the same tags.
func pushCommands(names []reference.NamedTagged) string {
	if len(names) == 0 {
		return "imagewright-push --images=REPOSITORY"
	}
	var repositories []string
	tags := map[string]string{} // flags, by repository
	for _, name := range names {
		if _, seen := tags[name.Name()]; !seen {
			repositories = append(repositories, name.Name())
		}
		tags[name.Name()] += " --tags=" + name.Tag()
	}
	var commands []string
	for len(repositories) > 0 {
		same := tags[repositories[0]]
		command := "imagewright-push"
		repositories = slices.DeleteFunc(repositories, func(r string) bool {
			if tags[r] != same {
				return false
			}
			command += " --images=" + r
			return true
		})
		commands = append(commands, command+same)
	}
	return strings.Join(commands, " && ")
}

func isFalse(text string) bool {
	b, err := strconv.ParseBool(text)
	return err == nil && !b
}
