package build

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
)

// namedContext is one entry of build-contexts. Exactly one of Dir, Image, Layout
// and Address is set.
type namedContext struct {
	Name    string // as the Dockerfile frontend looks it up
	Dir     string // absolute, links resolved
	Image   string // reference
	Layout  *image.Layout
	Digest  digest.Digest // in Layout
	Address *address
}

const namedContextHint = "write NAME=DIRECTORY, NAME=docker-image://REFERENCE, NAME=oci-layout://PATH@sha256:…, or NAME= and the address of a git repository or a file"

// namedContexts reads the input build-contexts. Directories and layouts must
// exist; references and addresses are only checked for their form.
func namedContexts(items []string, s surroundings) ([]namedContext, error) {
	records, err := joined(items)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input build-contexts: %w", err), namedContextHint)
	}
	var out []namedContext
	seen := map[string]bool{}
	for i, record := range records {
		c, err := parseNamedContext(record, s)
		if err == nil && seen[c.Name] {
			err = fmt.Errorf("%s is given twice", c.Name)
		}
		if err != nil {
			// The record is not shown: an address may have a token in it.
			return nil, fault.Usage(fmt.Errorf("input build-contexts, entry %d: %w", i+1, err), namedContextHint)
		}
		seen[c.Name] = true
		out = append(out, c)
	}
	return out, nil
}

func parseNamedContext(record string, s surroundings) (namedContext, error) {
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

	scheme, rest, _ := strings.Cut(value, ":")
	switch {
	case scheme == "docker-image":
		c.Image = strings.TrimPrefix(rest, "//")
		if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
			return c, fmt.Errorf("%q is not an image reference", c.Image)
		}
	case scheme == "oci-layout":
		err = c.openLayout(strings.TrimPrefix(rest, "//"), s)
	case scheme == "target":
		err = errors.New("target: names another target of a bake file, and these are not read here; FROM and COPY --from find the stages of the same Dockerfile by themselves")
	case isAddress(value):
		c.Address, err = parseAddress(value)
	default:
		c.Dir, err = s.directory(value)
	}
	return c, err
}

// directory returns the directory at path with its links resolved.
func (s surroundings) directory(path string) (string, error) {
	if err := isDirectory(s.abs(path)); err != nil {
		return "", err
	}
	return s.follow(path)
}

// follow resolves path's links. The workflow may well name a place outside the
// checkout; but a link in the checkout is the fork's, in a run for one, and must
// not lead out of it.
func (s surroundings) follow(path string) (string, error) {
	path = s.abs(path)
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	if s.fork && within(s.dir, path) && !s.inCheckout(resolved) {
		return "", fmt.Errorf("%s leads out of the checkout; runs for forks read the checkout alone", s.shown(path))
	}
	return resolved, nil
}

// contextParts are named contexts in the builder's terms.
type contextParts struct {
	Attrs     map[string]string
	Mounts    map[string]fsutil.FS
	Stores    map[string]content.Store
	Addresses []*address
}

func partsOf(contexts []namedContext, s surroundings) (contextParts, error) {
	parts := contextParts{Attrs: map[string]string{}, Mounts: map[string]fsutil.FS{}, Stores: map[string]content.Store{}}
	for i, c := range contexts {
		local := "named-" + strconv.Itoa(i) // not c.Name: "context" and "dockerfile" are taken
		value := ""
		switch {
		case c.Dir != "":
			files, err := s.contextFS(c.Dir)
			if err != nil {
				return parts, fault.Usage(fmt.Errorf("input build-contexts: %s: %w", c.Name, err), "")
			}
			parts.Mounts[local] = files
			value = "local:" + local
		case c.Image != "":
			value = imageScheme + c.Image
		case c.Address != nil:
			parts.Addresses = append(parts.Addresses, c.Address)
			value = c.Address.URL
		default:
			parts.Stores[local] = buildkit.LayoutStore(c.Layout)
			value = "oci-layout://" + local + "@" + c.Digest.String()
		}
		parts.Attrs["context:"+c.Name] = value
	}
	return parts, nil
}

// openLayout opens spec: PATH@DIGEST, PATH:TAG, or PATH where the layout has
// one root.
func (c *namedContext) openLayout(spec string, s surroundings) error {
	path, digestText, byDigest := strings.Cut(spec, "@")
	tag := ""
	if !byDigest {
		if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
			path, tag = path[:i], path[i+1:]
		}
	}
	if path = s.abs(path); s.fork {
		resolved, err := s.follow(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		path = cmp.Or(resolved, path)
	}
	layout, err := image.OpenLayout(path)
	if err != nil {
		return err
	}
	c.Layout = layout
	if byDigest {
		c.Digest, err = digest.Parse(digestText)
		return err
	}
	var root v1.Descriptor
	if tag != "" {
		root, err = layout.Named(tag)
	} else {
		root, err = layout.Root()
	}
	c.Digest = digest.Digest(root.Digest.String())
	return err
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
