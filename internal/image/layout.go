package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
)

const (
	layoutFile    = "oci-layout"
	indexFile     = "index.json"
	layoutVersion = "1.0.0"
)

// Layout is an OCI image layout in a directory, written a blob at a time. It
// has one writer; readers may be many. After a crash at any point it is whole:
// a blob has its name only once its content is on the disk, and index.json
// names an image only once all its blobs are.
//
// Format: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
type Layout struct {
	dir string

	mu      sync.Mutex
	writing map[string]bool // base names of temporary files in use
}

// OpenLayout returns the layout in dir. Errors: [ErrNoLayout], or [Damaged]
// for what only looks like one. No blob is read.
func OpenLayout(dir string) (*Layout, error) {
	l := &Layout{dir: dir, writing: map[string]bool{}}
	if err := l.checkDirs(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Usage(fmt.Errorf("%s: %w", dir, ErrNoLayout), "build an image first, or give the directory of another layout")
		}
		return nil, err
	}
	raw, err := l.readFile(layoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Usage(fmt.Errorf("%s: %w", dir, ErrNoLayout), "a layout has a file oci-layout in it")
	}
	if err != nil {
		return nil, err
	}
	if err := checkLayoutVersion(l.where(), raw); err != nil {
		return nil, err
	}
	return l, nil
}

// CreateLayout returns the layout in dir and makes an empty one where there is
// none. A layout that is there stays as it is.
func CreateLayout(dir string) (*Layout, error) {
	l, err := OpenLayout(dir)
	if err == nil || !errors.Is(err, ErrNoLayout) {
		return l, err
	}
	l = &Layout{dir: dir, writing: map[string]bool{}}
	if err := os.MkdirAll(l.blobDir(), 0o755); err != nil {
		return nil, fmt.Errorf("create layout: %w", err)
	}
	if err := l.checkDirs(); err != nil {
		return nil, err
	}
	for _, d := range []string{filepath.Dir(l.blobDir()), filepath.Dir(dir)} {
		if err := durable.SyncDir(d); err != nil {
			return nil, fmt.Errorf("create layout: %w", err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, indexFile)); errors.Is(err, fs.ErrNotExist) {
		if err := l.writeIndex(nil); err != nil {
			return nil, err
		}
	}
	// Last, because this file is what makes a directory a layout.
	err = durable.WriteFile(filepath.Join(dir, layoutFile), 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, `{"imageLayoutVersion":"`+layoutVersion+`"}`+"\n")
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Dir is the layout's directory, as it was given.
func (l *Layout) Dir() string { return l.dir }

// holds tells whether there is a blob h, of whatever size and content.
func (l *Layout) holds(h v1.Hash) bool {
	info, err := os.Lstat(l.blobPath(h))
	return err == nil && h.Algorithm == "sha256" && info.Mode().IsRegular()
}

func (l *Layout) where() place {
	return place{name: "layout " + l.dir, hint: "delete " + l.dir + " and build again"}
}

func (l *Layout) blobDir() string { return filepath.Join(l.dir, "blobs", "sha256") }

func (l *Layout) blobPath(h v1.Hash) string { return filepath.Join(l.blobDir(), h.Hex) }

// checkDirs refuses symbolic links: through them a layout that a checkout or a
// cache brought along would read and write elsewhere.
func (l *Layout) checkDirs() error {
	for _, d := range []string{l.dir, filepath.Dir(l.blobDir()), l.blobDir()} {
		info, err := os.Lstat(d)
		switch {
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			return l.where().damaged(d, "is a symbolic link; links are not followed in a layout")
		case !info.IsDir():
			return l.where().damaged(d, "is not a directory")
		}
	}
	return nil
}

func checkLayoutVersion(p place, raw []byte) error {
	var content struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &content); err != nil {
		return p.damagedBy(err, layoutFile, "cannot be read")
	}
	if content.Version != layoutVersion {
		return p.damaged(layoutFile, "is of version %q; only %s is known", content.Version, layoutVersion)
	}
	return nil
}

// readFile reads a document at the layout's top. Absent is fs.ErrNotExist.
func (l *Layout) readFile(name string) ([]byte, error) {
	f, _, err := l.openFile(filepath.Join(l.dir, name), name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readAtMost(f)
	if err == nil && len(raw) > maxDocument {
		err = l.where().damaged(name, "is larger than the %d bytes accepted", maxDocument)
	}
	return raw, err
}

// openFile opens a regular file and nothing else: a named pipe would hang the
// reader, a link would lead it away. Absent is fs.ErrNotExist.
func (l *Layout) openFile(path, what string) (*os.File, int64, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, 0, err
	}
	if !before.Mode().IsRegular() {
		return nil, 0, l.where().damaged(what, "is not a regular file (%s)", kindOf(before.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = l.where().damaged(what, "was replaced while it was opened")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, after.Size(), nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	default:
		return m.Type().String()
	}
}

// Root returns the one image or index that index.json names. Errors:
// [ErrNoRoot], or [Damaged] when index.json is not one that SetRoot wrote.
func (l *Layout) Root() (v1.Descriptor, error) {
	roots, err := l.roots()
	switch {
	case err != nil:
		return v1.Descriptor{}, err
	case len(roots) == 0:
		return v1.Descriptor{}, fault.Usage(fmt.Errorf("layout %s: %w", l.dir, ErrNoRoot), "build an image first")
	case len(roots) > 1:
		return v1.Descriptor{}, l.where().damaged(indexFile, "names %d images where one is expected", len(roots))
	}
	return roots[0], nil
}

// Named returns the image or index that index.json has under name, a tag or a
// reference. A layout without it is a usage error.
func (l *Layout) Named(name string) (v1.Descriptor, error) {
	roots, err := l.roots()
	if err != nil {
		return v1.Descriptor{}, err
	}
	root, _, err := Options{Name: name}.pick(l.where(), roots)
	return root, err
}

// roots returns all that index.json names; foreign layouts name several.
func (l *Layout) roots() ([]v1.Descriptor, error) {
	raw, err := l.readFile(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, l.where().damaged(indexFile, "is missing")
	}
	if err != nil {
		return nil, err
	}
	return parseRoots(l.where(), raw)
}

func parseRoots(p place, raw []byte) ([]v1.Descriptor, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, p.damagedBy(err, indexFile, "cannot be read")
	}
	for _, d := range index.Manifests {
		if err := checkHash(d.Digest); err != nil {
			return nil, p.damagedBy(err, indexFile, "cannot be used")
		}
	}
	return index.Manifests, nil
}

// SetRoot makes desc the layout's only root. All that it needs must be in the
// layout; then index.json is replaced at once. It is not touched when it says
// so already.
func (l *Layout) SetRoot(desc v1.Descriptor) error {
	doc, err := readDocument(l, desc)
	if err == nil {
		_, err = l.reachable(doc.Descriptor)
	}
	if err != nil {
		return fmt.Errorf("set root %s: %w", desc.Digest, err)
	}
	// The names of the blobs first: an image must not be named before them.
	if err := durable.SyncDir(l.blobDir()); err != nil {
		return fmt.Errorf("set root %s: %w", desc.Digest, err)
	}
	return l.writeIndex([]v1.Descriptor{{
		MediaType: doc.MediaType, Size: doc.Size, Digest: doc.Digest,
		Platform: desc.Platform, ArtifactType: desc.ArtifactType, Annotations: desc.Annotations,
	}})
}

func (l *Layout) writeIndex(roots []v1.Descriptor) error {
	if roots == nil {
		roots = []v1.Descriptor{} // null is no list
	}
	raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: roots})
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if old, err := l.readFile(indexFile); err == nil && bytes.Equal(old, raw) {
		return nil
	}
	return durable.WriteFile(filepath.Join(l.dir, indexFile), 0o644, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}
