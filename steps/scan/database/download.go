package database

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/klauspost/compress/gzip"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
)

// Bounds, bytes. The public vulnerability database has about 0.1 GB compressed
// and 1 GB unpacked, and grows by a fifth a year; the Java index is some times
// as large.
const (
	maxLayerBytes    = 4 << 30
	maxDBBytes       = 16 << 30
	maxMetadataBytes = 1 << 20
	maxEntries       = 100 // of the tar; two are expected
)

// update downloads the database from the first repository that has a good one
// and puts it at dir. When none has, the error tells of each.
func update(ctx context.Context, dir string, opts Options) (Metadata, error) {
	kind := opts.Kind
	if err := sweep(kind, opts.CacheDir); err != nil {
		return Metadata{}, fmt.Errorf("cache of the %s: %w", kind.Name, err)
	}
	if len(opts.Repositories) == 0 {
		return Metadata{}, fault.Usage(errors.New("no repository to download the "+kind.Name+" from"), "set "+kind.repositoryInput)
	}
	var failed []error
	for _, repository := range opts.Repositories {
		meta, err := updateFrom(ctx, repository, dir, opts)
		if err == nil {
			opts.Log.Info(kind.Name+" downloaded", "repository", repository, "updated", meta.UpdatedAt.Format(time.RFC3339))
			return meta, nil
		}
		if ctx.Err() != nil {
			return Metadata{}, ctx.Err()
		}
		failed = append(failed, fmt.Errorf("%s: %w", repository, err))
		opts.Log.Warn(kind.Name+" not available", "repository", repository, "reason", err)
	}
	return Metadata{}, &unavailable{kind, failed}
}

// unavailable says why no repository gave a database.
type unavailable struct {
	Kind Kind
	Errs []error
}

func (e *unavailable) Error() string {
	texts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		texts[i] = err.Error()
	}
	return e.Kind.Name + ": " + strings.Join(texts, "; ")
}

func (e *unavailable) Unwrap() []error { return e.Errs }

func (e *unavailable) ExitCode() int { return fault.ExitFailed }

func (e *unavailable) Hint() string {
	for _, err := range e.Errs {
		if hint := fault.Hint(err); hint != "" {
			return hint
		}
	}
	return fmt.Sprintf("set %s to a mirror that can be reached, or %s=true to use the one of an earlier run", e.Kind.repositoryInput, e.Kind.skipInput)
}

// updateFrom downloads the database from repository and puts it at dir.
func updateFrom(ctx context.Context, repository, dir string, opts Options) (Metadata, error) {
	kind := opts.Kind
	artifact, layer, err := kind.find(ctx, repository, opts.Registry)
	if err != nil {
		return Metadata{}, err
	}
	fresh, err := os.MkdirTemp(opts.CacheDir, kind.tempPrefix())
	if err != nil {
		return Metadata{}, err
	}
	defer os.RemoveAll(fresh) // no longer there when it has taken its place
	if err := os.Chmod(fresh, 0o755); err != nil {
		return Metadata{}, err
	}
	if err := kind.fetch(layer, fresh); err != nil {
		return Metadata{}, err
	}
	meta, err := kind.readMetadata(fresh)
	if err != nil {
		return Metadata{}, named(err, repository)
	}
	meta.DownloadedAt = opts.Now().UTC()
	meta.Repository, meta.Digest = repository, artifact.String()
	if err := writeMetadata(fresh, meta); err != nil {
		return Metadata{}, err
	}
	if opts.Check != nil {
		if err := opts.Check(fresh); err != nil {
			return Metadata{}, err
		}
	}
	return meta, kind.replace(dir, fresh)
}

// named makes the error speak of the repository instead of the temporary
// directory the database was unpacked in.
func named(err error, repository string) error {
	if schema, ok := errors.AsType[*schemaError](err); ok {
		return &schemaError{schema.Kind, repository, schema.Version}
	}
	return err
}

func writeMetadata(dir string, meta Metadata) error {
	return durable.WriteFile(filepath.Join(dir, fileMetadata), 0o644, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(meta)
	})
}

// find returns the artifact's digest and the one layer that is the database.
func (k Kind) find(ctx context.Context, repository string, registry Registry) (v1.Hash, v1.Layer, error) {
	ref, err := k.reference(repository, registry)
	if err != nil {
		return v1.Hash{}, nil, err
	}
	d, err := registry.Descriptor(ctx, ref)
	if err != nil {
		return v1.Hash{}, nil, err
	}
	if !d.MediaType.IsImage() {
		return v1.Hash{}, nil, fmt.Errorf("is no %s: its media type is %s", k.Name, d.MediaType)
	}
	layer, err := k.onlyLayer(d)
	return d.Digest, layer, err
}

// reference is repository as a reference. The tag of a database is its schema's
// version; never latest.
func (k Kind) reference(repository string, registry Registry) (name.Reference, error) {
	if !strings.ContainsAny(path.Base(repository), ":@") { // a port stands before the last slash
		repository = fmt.Sprintf("%s:%d", repository, k.Schema)
	}
	return registry.Reference(repository)
}

func (k Kind) onlyLayer(d *remote.Descriptor) (v1.Layer, error) {
	img, err := d.Image()
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != k.layer {
		return nil, fmt.Errorf("is no %s: want one layer of media type %s", k.Name, k.layer)
	}
	if size := manifest.Layers[0].Size; size > maxLayerBytes {
		return nil, fmt.Errorf("the %s has %d bytes; more than %d are not taken", k.Name, size, int64(maxLayerBytes))
	}
	return img.LayerByDigest(manifest.Layers[0].Digest)
}

// fetch unpacks layer into dir. Its size and digest are verified at its end: dir
// must not be used when there is an error.
func (k Kind) fetch(layer v1.Layer, dir string) error {
	body, err := layer.Compressed() // checks size and digest as it is read
	if err != nil {
		return err
	}
	defer body.Close()
	if err := k.unpack(body, dir); err != nil {
		return fmt.Errorf("unpack the %s: %w", k.Name, err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// unpack writes the two files of a database, and nothing else, into dir. Each
// must be there exactly once.
func (k Kind) unpack(compressed io.Reader, dir string) error {
	z, err := gzip.NewReader(compressed)
	if err != nil {
		return err
	}
	defer z.Close()
	bounds := map[string]int64{k.file: maxDBBytes, fileMetadata: maxMetadataBytes}
	t := tar.NewReader(z)
	for range maxEntries {
		h, err := t.Next()
		if err == io.EOF {
			return k.complete(z, bounds)
		}
		if err != nil {
			return err
		}
		file := path.Clean(h.Name)
		bound, wanted := bounds[file]
		if !wanted || h.Typeflag != tar.TypeReg {
			continue // links among them: what is expected is then missing
		}
		delete(bounds, file) // a second one would replace what was checked; it is skipped
		if h.Size > bound {
			return fmt.Errorf("%s has %d bytes; more than %d are not taken", file, h.Size, bound)
		}
		if err := durable.WriteFile(filepath.Join(dir, file), 0o644, func(w io.Writer) error {
			_, err := io.Copy(w, t)
			return err
		}); err != nil {
			return err
		}
	}
	return fmt.Errorf("it holds more than %d files", maxEntries)
}

// complete reads z to its end, whose checksum covers the whole, and says what is
// missing.
func (k Kind) complete(z io.Reader, missing map[string]int64) error {
	if _, err := io.Copy(io.Discard, io.LimitReader(z, maxMetadataBytes)); err != nil {
		return err
	}
	for _, file := range []string{k.file, fileMetadata} {
		if _, ok := missing[file]; ok {
			return fmt.Errorf("it holds no %s", file)
		}
	}
	return nil
}
