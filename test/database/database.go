// Package database makes small vulnerability databases in the form the scanner
// pulls: a bbolt file and its metadata, packed as an OCI artifact.
//
// The fixtures hold true facts about real advisories, a few per ecosystem, so
// that the real detectors have something to find.
package database

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	fixtures "github.com/aquasecurity/bolt-fixtures"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// SchemaVersion is the one that today's Trivy reads.
const SchemaVersion = 2

const (
	layerType  types.MediaType = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
	configType types.MediaType = "application/vnd.aquasec.trivy.config.v1+json"

	databaseFile = "trivy.db"
	archiveFile  = "db.tar.gz"
)

//go:embed fixtures/*.yaml
var builtin embed.FS

// Options say what a database holds and how old it is.
type Options struct {
	// Fixtures are YAML files in the form of bolt-fixtures; nil means the
	// built-in ones, and an empty list an empty database.
	Fixtures []string
	// Before are more such files, loaded first: what Fixtures say of the same
	// advisory counts.
	Before []string
	// Version of the schema; 0 means SchemaVersion.
	Version int
	// UpdatedAt is when it was made; zero means now. The next one is due a day
	// later.
	UpdatedAt time.Time
}

// Write makes trivy.db and metadata.json in dir, which is made if need be.
func Write(dir string, o Options) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make vulnerability database in %s: %w", dir, err)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := o.Fixtures
	if files == nil {
		scratch, err := os.MkdirTemp(dir, "fixtures-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(scratch)
		if files, err = unpackBuiltin(scratch); err != nil {
			return err
		}
	}
	if err := load(filepath.Join(dir, databaseFile), slices.Concat(o.Before, files)); err != nil {
		return err
	}
	updated := o.UpdatedAt
	if updated.IsZero() {
		updated = time.Now()
	}
	return metadata.NewClient(dir).Update(metadata.Metadata{
		Version:    cmp.Or(o.Version, SchemaVersion),
		UpdatedAt:  updated.UTC(),
		NextUpdate: updated.UTC().Add(24 * time.Hour),
	})
}

// Push sends the database in dir to a registry, in the form of Trivy's own
// artifacts, and returns the artifact's digest.
func Push(ctx context.Context, dir string, to name.Reference) (v1.Hash, error) {
	return form{databaseFile, archiveFile, layerType}.push(ctx, dir, to)
}

// form is how a database is published.
type form struct {
	file, archive string // names of the database and of the archive with it
	layer         types.MediaType
}

func (f form) push(ctx context.Context, dir string, to name.Reference) (v1.Hash, error) {
	archive, err := pack(dir, f.file)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("pack database %s: %w", dir, err)
	}
	artifact, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer(archive, f.layer),
		MediaType:   f.layer,
		Annotations: map[string]string{"org.opencontainers.image.title": f.archive},
	})
	if err != nil {
		return v1.Hash{}, err
	}
	artifact = mutate.ConfigMediaType(mutate.MediaType(artifact, types.OCIManifestSchema1), configType)
	if err := remote.Write(to, artifact, remote.WithContext(ctx)); err != nil {
		return v1.Hash{}, fmt.Errorf("push database: %w", err)
	}
	return artifact.Digest()
}

// Seed makes a database and pushes it.
func Seed(ctx context.Context, to name.Reference, o Options) (digest v1.Hash, err error) {
	dir, err := os.MkdirTemp("", "database-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := Write(dir, o); err != nil {
		return v1.Hash{}, err
	}
	return Push(ctx, dir, to)
}

// unpackBuiltin writes the built-in fixtures to dir: the loader takes paths.
func unpackBuiltin(dir string) ([]string, error) {
	names, err := fs.Glob(builtin, "fixtures/*.yaml")
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, file := range names {
		text, err := builtin.ReadFile(file)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func load(path string, files []string) (err error) {
	// A database left by an earlier call would keep what is no longer in files.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	loader, err := fixtures.New(path, files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, loader.Close()) }()
	return loader.Load()
}

// pack returns a database and its metadata as a gzipped tar.
func pack(dir, database string) ([]byte, error) {
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	for _, file := range []string{database, filepath.Base(metadata.Path(dir))} {
		if err := addFile(archive, filepath.Join(dir, file)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

func addFile(archive *tar.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: info.Name(), Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, file)
	return err
}
