package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
)

// namedContext is one entry of build-contexts. Exactly one of Dir, Image and
// Layout is set.
type namedContext struct {
	Name   string // as the Dockerfile frontend looks it up
	Dir    string // absolute
	Image  string // reference
	Layout *image.Layout
	Digest digest.Digest // in Layout
}

// addContexts gives the engine the directories and layouts it may read.
func (p *plan) addContexts(in *Inputs, s surroundings) error {
	workspace := s.workspace
	if resolved, err := filepath.EvalSymlinks(workspace); err == nil {
		workspace = resolved
	}
	mount := func(name, dir string) (err error) {
		p.mounts[name], err = contextFS(dir, workspace)
		return err
	}
	if err := errors.Join(mount("context", p.contextDir), mount("dockerfile", filepath.Dir(p.dockerfile.Path))); err != nil {
		return fault.Usage(fmt.Errorf("read the build context: %w", err), "")
	}
	items, err := joined(in.BuildContexts)
	if err != nil {
		return fault.Usage(fmt.Errorf("input build-contexts: %w", err), "")
	}
	contexts, err := namedContexts(items, s.abs)
	if err != nil {
		return err
	}
	for i, c := range contexts {
		local := "named-" + strconv.Itoa(i) // not c.Name: "context" and "dockerfile" are taken
		switch {
		case c.Dir != "":
			resolved, err := filepath.EvalSymlinks(c.Dir)
			if err == nil {
				err = mount(local, resolved)
			}
			if err != nil {
				return fault.Usage(fmt.Errorf("input build-contexts: %s: %w", c.Name, err), "")
			}
			// Named by the workflow, which may well name one outside; but a link
			// in the checkout is the fork's.
			if relative, err := filepath.Rel(s.dir, c.Dir); err == nil && filepath.IsLocal(relative) {
				if err := s.stayInside("build-contexts", resolved); err != nil {
					return err
				}
			}
			p.attrs["context:"+c.Name] = "local:" + local
		case c.Image != "":
			p.attrs["context:"+c.Name] = "docker-image://" + c.Image
		default:
			p.stores[local] = buildkit.LayoutStore(c.Layout)
			p.attrs["context:"+c.Name] = "oci-layout://" + local + "@" + c.Digest.String()
		}
	}
	return nil
}

// namedContexts reads the records of build-contexts. Directories and layouts
// must exist; references are only checked for their form.
func namedContexts(records []string, abs func(string) string) ([]namedContext, error) {
	var out []namedContext
	seen := map[string]bool{}
	for i, record := range records {
		c, err := parseNamedContext(record, abs)
		if err != nil {
			// The record is not shown: an address may have a token in it.
			return nil, fault.Usage(fmt.Errorf("input build-contexts, entry %d: %w", i+1, err),
				"write NAME=DIRECTORY, NAME=docker-image://REFERENCE or NAME=oci-layout://PATH@sha256:…")
		}
		if seen[c.Name] {
			return nil, fault.Usage(fmt.Errorf("input build-contexts, entry %d: %s is given twice", i+1, c.Name), "")
		}
		seen[c.Name] = true
		out = append(out, c)
	}
	return out, nil
}

func parseNamedContext(record string, abs func(string) string) (namedContext, error) {
	name, value, ok := strings.Cut(record, "=")
	if !ok || value == "" {
		return namedContext{}, errors.New("it is not NAME=VALUE")
	}
	c := namedContext{}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return c, fmt.Errorf("the name %q is neither a stage name nor an image reference", name)
	}
	// The frontend drops this tag from what stands in FROM, so it must go here.
	c.Name = strings.TrimSuffix(reference.FamiliarString(named), ":latest")

	scheme, rest, ok := strings.Cut(value, "://")
	switch {
	case !ok:
		c.Dir = abs(value)
		return c, isDirectory(c.Dir)
	case scheme == "docker-image":
		if _, err := reference.ParseNormalizedNamed(rest); err != nil {
			return c, fmt.Errorf("%q is not an image reference", rest)
		}
		c.Image = rest
		return c, nil
	case scheme == "oci-layout":
		return c, c.openLayout(rest, abs)
	}
	return c, fmt.Errorf("%s:// is not accepted", scheme)
}

// openLayout opens spec: PATH@DIGEST, PATH:TAG, or PATH where the layout has
// one root.
func (c *namedContext) openLayout(spec string, abs func(string) string) error {
	path, digestText, byDigest := strings.Cut(spec, "@")
	tag := ""
	if !byDigest {
		if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
			path, tag = path[:i], path[i+1:]
		}
	}
	layout, err := image.OpenLayout(abs(path))
	if err != nil {
		return err
	}
	c.Layout = layout
	switch {
	case byDigest:
		c.Digest, err = digest.Parse(digestText)
	case tag != "":
		c.Digest, err = taggedDigest(layout.Dir(), tag)
	default:
		root, rootErr := layout.Root()
		c.Digest, err = digest.Digest(root.Digest.String()), rootErr
	}
	return err
}

// taggedDigest finds tag in the index of the layout in dir.
func taggedDigest(dir, tag string) (digest.Digest, error) {
	const maxIndexBytes = 4 << 20 // what registries accept for a manifest
	f, err := os.Open(filepath.Join(dir, ocispecs.ImageIndexFile))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var index ocispecs.Index
	if err := json.NewDecoder(io.LimitReader(f, maxIndexBytes)).Decode(&index); err != nil {
		return "", fmt.Errorf("index.json: %w", err)
	}
	for _, m := range index.Manifests {
		if m.Annotations[ocispecs.AnnotationRefName] == tag {
			return m.Digest, m.Digest.Validate()
		}
	}
	return "", fmt.Errorf("the layout has no tag %q", tag)
}

func isDirectory(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s", path)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	}
	return nil
}
