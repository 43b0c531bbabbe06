package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// accepted is what a source may be, as usage errors say it.
const accepted = "accepted are the directory of an OCI layout, an archive (of docker save, or OCI; plain, gzip or zstd), or a registry reference; " +
	"oci:DIR, oci-archive:FILE, docker-archive:FILE and registry:REFERENCE say which"

// defaultMaxBytes bounds a decompressed archive, in bytes.
const defaultMaxBytes = 64 << 30

// Options of [Open].
type Options struct {
	// Dir is what relative paths start from; default: the working directory.
	Dir string
	// Registry fetches references. Without one they are usage errors.
	Registry Registry
	// Platform chooses images of an index; nil takes all.
	Platform *v1.Platform
	// Name chooses among several images of a layout or archive: a tag,
	// reference or digest. Default: the only one. In a layout the digest may be
	// that of any manifest it holds, not only of one that index.json names.
	Name string
	// TempDir is for compressed archives; default: the system's.
	TempDir string
	// MaxBytes bounds what a compressed archive may grow to; default 64 GiB.
	MaxBytes int64

	typed string // the path as the user gave it
}

// Opened is an image, or an index of several, opened for reading.
type Opened struct {
	// Name is what reports call it: the name that is stored with it, or else
	// the source. It comes from the image: escape it.
	Name string
	// Descriptor is that of the manifest or index. That of an archive of
	// docker save is made up; see MadeUp.
	Descriptor v1.Descriptor
	// MadeUp says that the source had no manifest and the digest in
	// Descriptor is that of no registry.
	MadeUp bool

	from     container
	platform *v1.Platform
	partial  bool // a source that may lack some of an index's images
	close    func() error
}

// Open opens the image in source: the directory of an OCI layout, an archive
// of docker save or OCI (plain or compressed), or a registry reference. A
// prefix says which: oci:DIR, oci-archive:FILE, docker-archive:FILE,
// registry:REFERENCE; without one, what exists as a file is a file. The file
// prefixes also take a name after a further colon, like Options.Name. An image
// that is itself called registry or oci needs the prefix: registry:registry:2.
//
// Nothing is believed: see the package's comment. A source that is nothing of
// this is a usage error.
func Open(ctx context.Context, source string, o Options) (*Opened, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	kind, rest, found := strings.Cut(source, ":")
	if found {
		switch kind {
		case "oci":
			return o.openAt(ctx, rest, Options.openDir)
		case "oci-archive":
			return o.openAt(ctx, rest, Options.openOCIArchive)
		case "docker-archive":
			return o.openAt(ctx, rest, Options.openDockerArchive)
		case "registry":
			return o.openReference(ctx, rest)
		case "docker":
			return nil, fault.Usage(fmt.Errorf("source %q: a Docker engine is not read from", source),
				"docker save it to a file and give that; an image called docker is registry:"+source)
		}
	}
	return o.openAny(ctx, source)
}

// openAny decides by what source looks like.
func (o Options) openAny(ctx context.Context, source string) (*Opened, error) {
	if source == "" {
		return nil, fault.Usage(errors.New("source: nothing was given"), accepted)
	}
	o.typed = source
	path := o.abs(source)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return o.openDir(ctx, path)
	case err == nil:
		return o.openFile(ctx, path)
	case !errors.Is(err, fs.ErrNotExist) && looksLikePath(source):
		return nil, fmt.Errorf("source: %w", err)
	case looksLikePath(source):
		return nil, fault.Usage(fmt.Errorf("source %q: no such file or directory", source), accepted)
	}
	return o.openReference(ctx, source)
}

// looksLikePath tells the names that nobody gives an image, though some of
// them could be parsed as one.
func looksLikePath(s string) bool {
	if filepath.IsAbs(s) || strings.HasPrefix(s, ".") || strings.HasSuffix(s, "/") {
		return true
	}
	return slices.ContainsFunc([]string{".tar", ".tgz", ".tar.gz", ".tar.zst", ".tzst"}, func(suffix string) bool {
		return strings.HasSuffix(s, suffix)
	})
}

func (o Options) abs(path string) string {
	if filepath.IsAbs(path) || o.Dir == "" {
		return path
	}
	return filepath.Join(o.Dir, path)
}

// openAt opens the path in rest, which may be PATH or PATH:NAME. A path with a
// colon in it is taken as a path when it exists.
func (o Options) openAt(ctx context.Context, rest string, open func(Options, context.Context, string) (*Opened, error)) (*Opened, error) {
	file := rest
	if _, err := os.Stat(o.abs(rest)); errors.Is(err, fs.ErrNotExist) {
		before, image, found := strings.Cut(rest, ":")
		if _, err := os.Stat(o.abs(before)); !found || err != nil {
			return nil, fault.Usage(fmt.Errorf("source %q: no such file or directory", rest), accepted)
		}
		if image == "" || o.Name != "" && o.Name != image {
			return nil, fault.Usage(fmt.Errorf("source %q: the image to take is not clear", rest), "name it once, after the colon or apart")
		}
		file, o.Name = before, image
	}
	o.typed = file
	return open(o, ctx, o.abs(file))
}

func (o Options) openDir(_ context.Context, path string) (*Opened, error) {
	dir, err := filepath.EvalSymlinks(path) // the user's own link; those inside are refused
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	l, err := OpenLayout(dir)
	if errors.Is(err, ErrNoLayout) {
		return nil, fault.Usage(fmt.Errorf("source: %w", err), "an image of that name is registry:NAME; "+accepted)
	}
	if err != nil {
		return nil, err
	}
	roots, err := l.roots()
	if err != nil {
		return nil, err
	}
	if h, err := v1.NewHash(o.Name); err == nil && !isRoot(roots, h) {
		// A writer that was stopped between index.json and its record leaves
		// another root; what the record names is still there, and still counts.
		if l.holds(h) {
			return o.opened(l, v1.Descriptor{Digest: h, Size: unknownSize}, o.typed, nil)
		}
	}
	if len(roots) == 0 {
		_, err := l.Root()
		return nil, err
	}
	desc, stored, err := o.pick(l.where(), roots)
	if err != nil {
		return nil, err
	}
	return o.opened(l, desc, cmp.Or(stored, o.typed), nil)
}

func isRoot(roots []v1.Descriptor, h v1.Hash) bool {
	return slices.ContainsFunc(roots, func(d v1.Descriptor) bool { return d.Digest == h })
}

func (o Options) openReference(ctx context.Context, s string) (*Opened, error) {
	if o.Registry == nil {
		if _, err := name.ParseReference(s); err != nil {
			return nil, notAccepted(s, err)
		}
		return nil, fault.Usage(fmt.Errorf("source %q: no such file or directory, and references are not read here", s), "accepted are the directory of an OCI layout, or an archive")
	}
	ref, err := o.Registry.Reference(s)
	if err != nil {
		return nil, notAccepted(s, err)
	}
	r, desc, err := openRemote(ctx, o.Registry, ref)
	if err != nil {
		return nil, err
	}
	return o.opened(r, desc, ref.Name(), nil)
}

func notAccepted(s string, err error) error {
	return fault.Usage(fmt.Errorf("source %q: is no file, no directory and no reference: %w", s, err), accepted)
}

// opened reads the root's document, so that what cannot be used fails here.
func (o Options) opened(from container, desc v1.Descriptor, called string, shut func() error) (*Opened, error) {
	doc, err := readDocument(from, desc)
	if err != nil {
		return nil, err
	}
	root := v1.Descriptor{MediaType: doc.MediaType, Digest: doc.Digest, Size: doc.Size}
	return &Opened{Name: called, Descriptor: root, from: from, platform: o.Platform, close: shut}, nil
}

// Close removes what Open made. The images must not be used any more.
func (o *Opened) Close() error {
	if o.close == nil {
		return nil
	}
	return o.close()
}
