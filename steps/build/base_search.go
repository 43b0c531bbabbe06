package build

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// baseQuery is what decides which images a Dockerfile needs.
type baseQuery struct {
	Target   string              // stage
	Args     map[string]string   // build arguments
	Contexts []namedContext      // which take the place of images and stages
	Builder  ocispecs.Platform   // what $BUILDPLATFORM is
	Wanted   []ocispecs.Platform // what is built
}

// bases returns the images that building q needs, in the order of the file and
// once for each platform they are needed for. Stages that the target doesn't
// reach are left out, as BuildKit leaves them out. There are none where only the
// frontend that the Dockerfile names can tell.
func (d dockerfile) bases(q baseQuery) ([]baseImage, error) {
	var all []baseImage
	for _, wanted := range q.Wanted {
		search := &baseSearch{d: d, q: q, wanted: wanted, seen: map[int]bool{}}
		if err := search.globals(); err != nil {
			return nil, err
		}
		target := len(d.Stages) - 1
		if q.Target != "" {
			if i, ok := instructions.HasStage(d.Stages, q.Target); ok {
				target = i
			}
		}
		if target < 0 {
			return nil, nil
		}
		if err := search.stage(target, true); err != nil {
			return nil, err
		}
		all = append(all, search.found...)
	}
	slices.SortStableFunc(all, func(a, b baseImage) int { return a.Line - b.Line })
	return slices.CompactFunc(all, func(a, b baseImage) bool {
		return a.Name == b.Name && a.Final == b.Final && platforms.FormatAll(a.Platform) == platforms.FormatAll(b.Platform)
	}), nil
}

// baseSearch walks from a target to all the images it needs for one platform.
type baseSearch struct {
	d      dockerfile
	q      baseQuery
	wanted ocispecs.Platform
	env    shell.EnvGetter // what FROM may expand
	seen   map[int]bool    // stages
	found  []baseImage
}

// globals fills env: BuildKit's platform arguments, then those before the first
// FROM, each of which sees the ones before it.
func (s *baseSearch) globals() error {
	env := []string{
		"BUILDPLATFORM=" + platforms.Format(s.q.Builder), "BUILDOS=" + s.q.Builder.OS,
		"BUILDARCH=" + s.q.Builder.Architecture, "BUILDVARIANT=" + s.q.Builder.Variant,
		"TARGETPLATFORM=" + platforms.Format(s.wanted), "TARGETOS=" + s.wanted.OS,
		"TARGETARCH=" + s.wanted.Architecture, "TARGETVARIANT=" + s.wanted.Variant,
	}
	for _, command := range s.d.args {
		for _, arg := range command.Args {
			value, given := s.q.Args[arg.Key]
			if !given && arg.Value != nil {
				var err error
				if value, err = expand(*arg.Value, shell.EnvsFromSlice(env)); err != nil {
					return s.at(command.Location()[0].Start.Line, err)
				}
			}
			if given || arg.Value != nil {
				env = append(env, arg.Key+"="+value)
			}
		}
	}
	s.env = shell.EnvsFromSlice(env)
	return nil
}

// stage adds what stage i needs; final says that the target is built on it. A
// final stage comes before all that is copied into it, so it is never one seen
// before.
func (s *baseSearch) stage(i int, final bool) error {
	if s.seen[i] {
		return nil
	}
	s.seen[i] = true
	stage := s.d.Stages[i]
	line := 0
	if len(stage.Location) > 0 {
		line = stage.Location[0].Start.Line
	}
	platform, err := s.platform(stage.Platform)
	if err != nil {
		return s.at(line, err)
	}
	if c := s.context(stage.Name); c != nil {
		s.given(c, use{stage.Name, i, line, platform, final})
		return nil
	}
	if err := s.need(use{stage.BaseName, i, line, platform, final}); err != nil {
		return err
	}
	for _, command := range stage.Commands {
		var from []string
		switch c := command.(type) {
		case *instructions.CopyCommand:
			from = []string{c.From}
		case *instructions.RunCommand:
			for _, mount := range instructions.GetMounts(c) {
				from = append(from, mount.From)
			}
		}
		for _, name := range from {
			if err := s.needSource(name, i, command.Location()[0].Start.Line); err != nil {
				return err
			}
		}
	}
	return nil
}

// needSource adds what name in COPY --from or RUN --mount=from stands for; it
// may be a stage's number there.
func (s *baseSearch) needSource(name string, stage, line int) error {
	if name == "" {
		return nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < stage {
		return s.stage(i, false)
	}
	return s.need(use{name, stage, line, s.wanted, false})
}

// use is where a Dockerfile names a stage or an image.
type use struct {
	name     string
	stage    int // that the name stands in
	line     int
	platform ocispecs.Platform
	final    bool
}

// need adds what u stands for: an earlier stage, or an image.
func (s *baseSearch) need(u use) error {
	name, err := expand(u.name, s.env)
	if err != nil {
		return s.at(u.line, err)
	}
	if i, ok := instructions.HasStage(s.d.Stages[:u.stage], name); ok {
		return s.stage(i, u.final)
	}
	if name == "scratch" || name == "" {
		return nil // the frontend complains of an empty one
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil // the frontend says it better
	}
	if c := s.context(reference.FamiliarString(named)); c != nil {
		s.given(c, u)
		return nil
	}
	s.add(reference.TagNameOnly(named).String(), u)
	return nil
}

func (s *baseSearch) add(name string, u use) *baseImage {
	s.found = append(s.found, baseImage{Name: name, Line: u.line, Platform: u.platform, Final: u.final})
	return &s.found[len(s.found)-1]
}

// context returns the named context that takes the place of name, or nil.
func (s *baseSearch) context(name string) *namedContext {
	for i, c := range s.q.Contexts {
		if strings.EqualFold(c.Name, strings.TrimSuffix(name, ":latest")) {
			return &s.q.Contexts[i]
		}
	}
	return nil
}

// given adds the image that c is, if it is one, for where the Dockerfile names
// something else.
func (s *baseSearch) given(c *namedContext, u use) {
	switch {
	case c.Image != "":
		if named, err := reference.ParseNormalizedNamed(c.Image); err == nil {
			s.add(reference.TagNameOnly(named).String(), u)
		}
	case c.Layout != nil:
		b := s.add(c.Name, u)
		b.layout, b.Digest = c.Layout, c.Digest
	}
}

func (s *baseSearch) platform(text string) (ocispecs.Platform, error) {
	text, err := expand(text, s.env)
	if err != nil || text == "" {
		return s.wanted, err
	}
	platform, err := platforms.Parse(text)
	if err != nil {
		return s.wanted, fmt.Errorf("%q is no platform", text)
	}
	return platforms.Normalize(platform), nil
}

func (s *baseSearch) at(line int, err error) error {
	return &badDockerfile{File: s.d.Shown, Line: line, EndLine: line, Message: err.Error()}
}

func expand(word string, env shell.EnvGetter) (string, error) {
	result, err := shell.NewLex('\\').ProcessWordWithMatches(word, env)
	return result.Result, err
}
