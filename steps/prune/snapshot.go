package prune

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/registry"
)

// repository is what prune needs of a registry. A registry that cannot answer
// is an error, never an empty answer: what is unknown is kept.
type repository interface {
	// Tags returns all tags, or an error where the list may be incomplete.
	Tags(ctx context.Context) ([]string, error)
	// Resolve returns what a tag points to.
	Resolve(ctx context.Context, tag string) (v1.Descriptor, error)
	// Manifest returns a manifest, its digest checked.
	Manifest(ctx context.Context, digest v1.Hash) (raw []byte, mediaType types.MediaType, err error)
	// Config returns the blob of an image's configuration, its digest checked.
	Config(ctx context.Context, config v1.Descriptor) ([]byte, error)
	// Referrers returns the manifests whose subject is digest.
	Referrers(ctx context.Context, digest v1.Hash) ([]v1.Descriptor, error)
	// Untag removes a tag and leaves its manifest; errUntagUnsupported where
	// the registry cannot.
	Untag(ctx context.Context, tag string) error
	// Delete removes a manifest, and on most registries every tag of it.
	Delete(ctx context.Context, digest v1.Hash) error
}

// Snapshot is what a repository held at one moment.
type Snapshot struct {
	Repository string
	Tags       map[string]v1.Hash
	Nodes      map[v1.Hash]*Node
}

// Node is one manifest.
type Node struct {
	MediaType types.MediaType
	Size      int64     // of the manifest, in bytes
	Children  []v1.Hash // manifests of an index
	Subject   *v1.Hash  // what a referrer is about
	Referrers []v1.Hash // what the registry says refers to it
	Blobs     map[v1.Hash]int64
	Created   time.Time // the newest time it tells; zero for none
	// Missing says that the registry no longer has it.
	Missing bool
}

const (
	requestsAtOnce = 8  // 16 and 32 gain nothing, measured on distribution v3
	maxDepth       = 16 // of indexes in indexes; far above any that is used
)

// take makes a snapshot of repo: every tag, what it points to, and all that
// can be reached from there.
func take(ctx context.Context, name string, repo repository) (*Snapshot, error) {
	tags, err := repo.Tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", name, err)
	}
	t := &taking{repo: repo, s: &Snapshot{Repository: name, Tags: map[string]v1.Hash{}, Nodes: map[v1.Hash]*Node{}}}
	err = each(ctx, tags, func(ctx context.Context, tag string) error {
		d, err := repo.Resolve(ctx, tag)
		if err != nil {
			return fmt.Errorf("look up %s:%s: %w", name, tag, err)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.s.Tags[tag] = d.Digest
		return nil
	})
	if err != nil {
		return nil, err
	}
	level := slices.Collect(maps.Values(t.s.Tags))
	for depth := 0; len(level) > 0; depth++ {
		if depth == maxDepth {
			return nil, fmt.Errorf("%s: indexes are nested deeper than %d", name, maxDepth)
		}
		if level, err = t.read(ctx, level); err != nil {
			return nil, err
		}
	}
	return t.s, nil
}

// taking is a snapshot in the making.
type taking struct {
	repo repository
	mu   sync.Mutex // guards s
	s    *Snapshot
}

// read adds the manifests of level that are new, and returns what they name.
func (t *taking) read(ctx context.Context, level []v1.Hash) ([]v1.Hash, error) {
	var fresh []v1.Hash
	for _, digest := range level {
		if t.s.Nodes[digest] == nil {
			t.s.Nodes[digest] = &Node{} // taken; filled below
			fresh = append(fresh, digest)
		}
	}
	var next []v1.Hash
	err := each(ctx, fresh, func(ctx context.Context, digest v1.Hash) error {
		node, err := t.node(ctx, digest)
		if err != nil {
			return fmt.Errorf("read %s@%s: %w", t.s.Repository, digest, err)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.s.Nodes[digest] = node
		next = append(next, node.Children...)
		next = append(next, node.Referrers...)
		if node.Subject != nil {
			next = append(next, *node.Subject)
		}
		return nil
	})
	return next, err
}

// each calls f for every item, some at a time; the first failure stops the rest.
func each[T any](ctx context.Context, items []T, f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(requestsAtOnce)
	for _, item := range items {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(ctx, item)
		})
	}
	return g.Wait()
}

// document is what an image manifest or an index says that matters here.
type document struct {
	Subject     *v1.Descriptor    `json:"subject"`
	Config      *v1.Descriptor    `json:"config"`
	Layers      []v1.Descriptor   `json:"layers"`
	Manifests   []v1.Descriptor   `json:"manifests"`
	Annotations map[string]string `json:"annotations"`
}

const createdAnnotation = "org.opencontainers.image.created"

func (t *taking) node(ctx context.Context, digest v1.Hash) (*Node, error) {
	raw, mediaType, err := t.repo.Manifest(ctx, digest)
	if registry.IsNotFound(err) {
		return &Node{Missing: true}, nil // a child that was lost, a subject that is gone
	}
	if err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("the manifest is not JSON: %w", err)
	}
	node := &Node{MediaType: mediaType, Size: int64(len(raw)), Blobs: map[v1.Hash]int64{}}
	for _, child := range doc.Manifests {
		node.Children = append(node.Children, child.Digest)
	}
	if doc.Subject != nil {
		node.Subject = &doc.Subject.Digest
	}
	for _, layer := range doc.Layers {
		node.Blobs[layer.Digest] = layer.Size
	}
	node.Created = parseTime(doc.Annotations[createdAnnotation])
	if doc.Config != nil {
		node.Blobs[doc.Config.Digest] = doc.Config.Size
		if node.Created, err = t.created(ctx, node.Created, *doc.Config); err != nil {
			return nil, err
		}
	}
	referrers, err := t.repo.Referrers(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("list referrers: %w", err)
	}
	for _, r := range referrers {
		node.Referrers = append(node.Referrers, r.Digest)
	}
	return node, nil
}

// created returns the newer of annotated and the time in an image's
// configuration. An artifact's configuration says nothing.
func (t *taking) created(ctx context.Context, annotated time.Time, config v1.Descriptor) (time.Time, error) {
	if config.MediaType != types.OCIConfigJSON && config.MediaType != types.DockerConfigJSON {
		return annotated, nil
	}
	raw, err := t.repo.Config(ctx, config)
	if registry.IsNotFound(err) {
		return annotated, nil // a broken image is as old as its manifest says
	}
	if err != nil {
		return annotated, fmt.Errorf("read its configuration: %w", err)
	}
	var doc struct {
		Created string `json:"created"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return annotated, nil // no configuration we can read: its age is unknown, so it is kept
	}
	if at := parseTime(doc.Created); at.After(annotated) {
		return at, nil
	}
	return annotated, nil
}

// parseTime returns the zero time for what is no time.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
