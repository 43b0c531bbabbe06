package image

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/durable"
)

// closure is all that some roots need. The contents of its documents are
// checked, of its blobs only that they are there.
type closure struct {
	layout    *Layout
	documents map[v1.Hash]bool
	blobs     map[v1.Hash]v1.Descriptor
	order     []v1.Descriptor // of both, as they were found
}

// reachable returns what desc needs, or an error when a part of it is missing
// or cannot be read: a closure is whole or it is none.
func (l *Layout) reachable(roots ...v1.Descriptor) (*closure, error) {
	c := &closure{layout: l, documents: map[v1.Hash]bool{}, blobs: map[v1.Hash]v1.Descriptor{}}
	for _, desc := range roots {
		if err := c.add(desc, 0); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *closure) add(desc v1.Descriptor, depth int) error {
	if c.documents[desc.Digest] {
		return nil
	}
	what := "index " + desc.Digest.String()
	if depth > maxDepth {
		return c.layout.where().damaged(what, "lies more than %d indexes deep, or in itself", maxDepth)
	}
	if len(c.documents) >= maxManifests {
		return c.layout.where().damaged(what, "needs more than %d manifests", maxManifests)
	}
	doc, err := readDocument(c.layout, desc)
	if err != nil {
		return err
	}
	c.documents[desc.Digest] = true
	c.order = append(c.order, doc.Descriptor)
	for _, child := range doc.children() {
		if doc.MediaType.IsIndex() && (child.MediaType.IsIndex() || child.MediaType.IsImage()) {
			if err := c.add(child, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := c.addBlob(child); err != nil {
			return err
		}
	}
	return c.addSubject(doc.Subject, depth)
}

func (c *closure) addBlob(desc v1.Descriptor) error {
	if !c.layout.Has(desc) {
		if !desc.MediaType.IsDistributable() {
			return nil // lies at its URLs by design
		}
		r, err := c.layout.Blob(desc)
		if err != nil {
			return err // says why
		}
		r.Close()
	}
	if _, seen := c.blobs[desc.Digest]; !seen {
		c.order = append(c.order, desc)
	}
	c.blobs[desc.Digest] = desc
	return nil
}

// addSubject keeps what an attestation speaks of. It may well be elsewhere.
func (c *closure) addSubject(subject *v1.Descriptor, depth int) error {
	if subject == nil || !c.layout.Has(*subject) {
		return nil
	}
	return c.add(*subject, depth+1)
}

// Sweep removes the blobs that neither the root nor keep needs, and what
// killed writers left behind. It removes nothing when a part of what is kept
// cannot be read: what is unknown is kept.
func (l *Layout) Sweep(keep ...v1.Hash) error {
	c, err := l.kept(keep)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	stale, err := l.stale(l.dir, nil)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	unneeded, err := l.stale(l.blobDir(), c)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, path := range append(stale, unneeded...) {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

func (l *Layout) kept(keep []v1.Hash) (*closure, error) {
	roots, err := l.roots()
	if err != nil {
		return nil, err
	}
	for _, h := range keep {
		roots = append(roots, v1.Descriptor{Digest: h, Size: unknownSize})
	}
	return l.reachable(roots...)
}

// stale lists what may be removed from dir: temporary files that nobody is
// writing and, with a closure, blobs outside it.
func (l *Layout) stale(dir string, c *closure) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var paths []string
	for _, e := range entries {
		h := v1.Hash{Algorithm: "sha256", Hex: e.Name()}
		switch {
		case e.IsDir(): // none of ours
		case strings.HasPrefix(e.Name(), durable.TempPrefix):
			if !l.writing[e.Name()] {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		case c != nil && checkHash(h) == nil && !c.has(h):
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// Contents returns all that root needs, each once: root itself, and what a
// document names after the document, in its order. Layers that lie at their URLs
// and not here are left out. Anything else that is missing is a [Damaged] error;
// the contents of blobs are not read.
func (l *Layout) Contents(root v1.Descriptor) ([]v1.Descriptor, error) {
	c, err := l.reachable(root)
	if err != nil {
		return nil, err
	}
	return c.order, nil
}

func (c *closure) has(h v1.Hash) bool {
	_, blob := c.blobs[h]
	return blob || c.documents[h]
}

// Verify reads everything that the image or index h needs and returns a
// [Damaged] error naming the first content that is not what its digest says.
// Do this once with a layout that came from a cache or an artifact.
func (l *Layout) Verify(ctx context.Context, h v1.Hash) error {
	c, err := l.reachable(v1.Descriptor{Digest: h, Size: unknownSize})
	if err != nil {
		return err
	}
	byName := func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.Hex, b.Digest.Hex) }
	for _, desc := range slices.SortedFunc(maps.Values(c.blobs), byName) {
		if err := l.verifyBlob(ctx, desc); err != nil {
			return err
		}
	}
	return nil
}

func (l *Layout) verifyBlob(ctx context.Context, desc v1.Descriptor) error {
	r, err := l.Blob(desc)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, contextReader{ctx, r})
	return err
}
