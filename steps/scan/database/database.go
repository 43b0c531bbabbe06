// Package database keeps Trivy's databases in a directory up to date: that of
// vulnerabilities, and the index of Java archives.
//
// Each is an OCI artifact of one layer, a gzipped tar of the database and
// metadata.json. In the cache they stand as Trivy has them, so the two can share
// one:
//
//	<cache-dir>/db/trivy.db
//	<cache-dir>/db/metadata.json
//	<cache-dir>/java-db/trivy-java.db
//	<cache-dir>/java-db/metadata.json
//
// The directory of a database is replaced as a whole: a reader finds the old
// database or the new one, never parts of both.
package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/fault"
)

// fileMetadata is what stands beside a database.
const fileMetadata = "metadata.json"

// Metadata is metadata.json: what its publisher says, and where we got it.
type Metadata struct {
	Version      int
	NextUpdate   time.Time
	UpdatedAt    time.Time
	DownloadedAt time.Time

	// Written by us; Trivy ignores them. Empty for a database that Trivy got.
	Repository string `json:",omitempty"` // as configured, with its tag
	Digest     string `json:",omitempty"` // of the artifact's manifest
}

// Registry is what this package needs of one.
type Registry interface {
	Reference(s string) (name.Reference, error)
	Descriptor(ctx context.Context, ref name.Reference) (*remote.Descriptor, error)
}

// Options of Ready.
type Options struct {
	Kind Kind // [Vulnerabilities] or [Java]

	CacheDir     string   // absolute; made when missing
	Repositories []string // tried in order; a name without a tag means that of the schema
	SkipUpdate   bool     // use what is there, however old
	Registry     Registry
	Log          *slog.Logger
	Now          func() time.Time // default: time.Now

	// Check looks into a downloaded database before it replaces the one that is
	// there. dir holds the two files.
	Check func(dir string) error
}

// Database is one that is ready to be opened.
type Database struct {
	Dir      string // holds it and its metadata
	Path     string // of the database itself
	Metadata Metadata
}

// Ready returns the database in the cache, and downloads it first if there is
// none, or a newer one should be out, or the one that is there came from a
// repository that is not among the configured ones.
//
// It fails when it cannot make sure of that: a database that could not be
// updated is not used in silence. No file of the cache changes then.
func Ready(ctx context.Context, opts Options) (Database, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kind := opts.Kind
	dir := filepath.Join(opts.CacheDir, kind.folder)
	if opts.SkipUpdate {
		return existing(dir, opts)
	}
	if err := os.MkdirAll(opts.CacheDir, 0o755); err != nil {
		return Database{}, fault.Failed(fmt.Errorf("cache of the %s: %w", kind.Name, err), "set cache-dir to a directory that can be written to")
	}
	unlock, err := lock(ctx, kind, opts.CacheDir) // two scans that start together download once
	if err != nil {
		return Database{}, err
	}
	defer unlock()

	meta, err := kind.readMetadata(dir)
	if err == nil && fresh(meta, opts) {
		return kind.at(dir, meta), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		opts.Log.Warn("the "+kind.Name+" in the cache is not usable and is downloaded again", "reason", err)
	}
	meta, err = update(ctx, dir, opts)
	return kind.at(dir, meta), err
}

// Path is where the database itself is in its directory.
func (k Kind) Path(dir string) string { return filepath.Join(dir, k.file) }

func (k Kind) at(dir string, meta Metadata) Database {
	return Database{Dir: dir, Path: k.Path(dir), Metadata: meta}
}

// existing is Ready with SkipUpdate: it writes nothing.
func existing(dir string, opts Options) (Database, error) {
	kind := opts.Kind
	meta, err := kind.readMetadata(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Database{}, fault.Failed(fmt.Errorf("no %s in %s, and %s forbids to download one", kind.Name, dir, kind.skipInput),
			"run once without "+kind.skipInput+", or restore cache-dir from a run that did")
	}
	if err != nil {
		return Database{}, fault.Failed(err, "remove the directory and run once without "+kind.skipInput)
	}
	if now := opts.Now(); now.After(meta.NextUpdate) {
		opts.Log.Warn("the "+kind.Name+" is out of date; what was published since is not found",
			"updated", meta.UpdatedAt.Format(time.DateOnly), "next-update", meta.NextUpdate.Format(time.DateOnly))
	}
	return kind.at(dir, meta), nil
}

// fresh reports whether the database that meta describes need not be asked for.
func fresh(meta Metadata, opts Options) bool {
	now := opts.Now()
	if meta.DownloadedAt.IsZero() || meta.DownloadedAt.After(now) { // a clock that was wrong once must not keep it for ever
		return false
	}
	if meta.Repository != "" && !slices.Contains(opts.Repositories, meta.Repository) {
		opts.Log.Info("the "+opts.Kind.Name+" in the cache came from another repository", "repository", meta.Repository)
		return false
	}
	return now.Before(meta.NextUpdate) || now.Before(meta.DownloadedAt.Add(opts.Kind.minAge))
}

// readMetadata reads and checks metadata.json in dir, and that the database it
// speaks of is there. The error is [fs.ErrNotExist] when there is none.
func (k Kind) readMetadata(dir string) (Metadata, error) {
	var meta Metadata
	path := filepath.Join(dir, fileMetadata)
	f, err := os.Open(path)
	if err != nil {
		return meta, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxMetadataBytes)).Decode(&meta); err != nil {
		return meta, fmt.Errorf("%s: %w", path, err)
	}
	info, err := os.Stat(filepath.Join(dir, k.file))
	if err != nil {
		return meta, err
	}
	if info.Size() == 0 {
		return meta, fmt.Errorf("%s is empty", filepath.Join(dir, k.file))
	}
	if meta.Version != k.Schema {
		return meta, &schemaError{k, path, meta.Version}
	}
	return meta, nil
}

// schemaError is a database of a format that cannot be read here.
type schemaError struct {
	Kind    Kind
	Where   string
	Version int
}

func (e *schemaError) Error() string {
	return fmt.Sprintf("%s %s has schema version %d; this program reads version %d", e.Kind.Name, e.Where, e.Version, e.Kind.Schema)
}

func (e *schemaError) Hint() string {
	if e.Version > e.Kind.Schema {
		return "use a newer imagewright-scan"
	}
	return fmt.Sprintf("set %s to one that is published with the tag %d", e.Kind.repositoryInput, e.Kind.Schema)
}

func (e *schemaError) ExitCode() int { return fault.ExitFailed }
