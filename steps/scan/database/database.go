// Package database keeps the vulnerability database in a directory up to date.
//
// The database is Trivy's: an OCI artifact of one layer, a gzipped tar of
// trivy.db and metadata.json (https://github.com/aquasecurity/trivy-db). In the
// cache it stands as Trivy has it, so the two can share one:
//
//	<cache-dir>/db/trivy.db
//	<cache-dir>/db/metadata.json
//
// The directory db is replaced as a whole: a reader finds the old database or
// the new one, never parts of both.
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

// SchemaVersion is the version of the database that can be read, and the tag it
// is published under.
const SchemaVersion = 2

// minAge is how long a downloaded database is not asked for again, even when a
// newer one should be out: publishing is sometimes late.
const minAge = time.Hour

// Names of the files in db.
const (
	fileDB       = "trivy.db"
	fileMetadata = "metadata.json"
)

// DefaultRepositories returns where the public database is published, in the
// order they are tried.
func DefaultRepositories() []string {
	return []string{"mirror.gcr.io/aquasec/trivy-db:2", "ghcr.io/aquasecurity/trivy-db:2"}
}

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
	CacheDir     string   // absolute; made when missing
	Repositories []string // tried in order; a name without a tag means that of SchemaVersion
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
	Dir      string // holds trivy.db
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
	dir := filepath.Join(opts.CacheDir, "db")
	if opts.SkipUpdate {
		return existing(dir, opts)
	}
	if err := os.MkdirAll(opts.CacheDir, 0o755); err != nil {
		return Database{}, fault.Failed(fmt.Errorf("cache of the vulnerability database: %w", err), "set cache-dir to a directory that can be written to")
	}
	unlock, err := lock(ctx, opts.CacheDir) // two scans that start together download once
	if err != nil {
		return Database{}, err
	}
	defer unlock()

	meta, err := ReadMetadata(dir)
	if err == nil && fresh(meta, opts) {
		return Database{dir, meta}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		opts.Log.Warn("the vulnerability database in the cache is not usable and is downloaded again", "reason", err)
	}
	meta, err = update(ctx, dir, opts)
	return Database{dir, meta}, err
}

// existing is Ready with SkipUpdate: it writes nothing.
func existing(dir string, opts Options) (Database, error) {
	meta, err := ReadMetadata(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Database{}, fault.Failed(fmt.Errorf("no vulnerability database in %s, and skip-db-update forbids to download one", dir),
			"run once without skip-db-update, or restore cache-dir from a run that did")
	}
	if err != nil {
		return Database{}, fault.Failed(err, "remove the directory and run once without skip-db-update")
	}
	if now := opts.Now(); now.After(meta.NextUpdate) {
		opts.Log.Warn("the vulnerability database is out of date; flaws published since are not found",
			"updated", meta.UpdatedAt.Format(time.DateOnly), "next-update", meta.NextUpdate.Format(time.DateOnly))
	}
	return Database{dir, meta}, nil
}

// fresh reports whether the database that meta describes need not be asked for.
func fresh(meta Metadata, opts Options) bool {
	now := opts.Now()
	if meta.DownloadedAt.IsZero() || meta.DownloadedAt.After(now) { // a clock that was wrong once must not keep it for ever
		return false
	}
	if meta.Repository != "" && !slices.Contains(opts.Repositories, meta.Repository) {
		opts.Log.Info("the vulnerability database in the cache came from another repository", "repository", meta.Repository)
		return false
	}
	return now.Before(meta.NextUpdate) || now.Before(meta.DownloadedAt.Add(minAge))
}

// ReadMetadata reads and checks metadata.json in dir, and that the database it
// speaks of is there. The error is [fs.ErrNotExist] when there is none.
func ReadMetadata(dir string) (Metadata, error) {
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
	info, err := os.Stat(filepath.Join(dir, fileDB))
	if err != nil {
		return meta, err
	}
	if info.Size() == 0 {
		return meta, fmt.Errorf("%s is empty", filepath.Join(dir, fileDB))
	}
	return meta, checkSchema(meta, path)
}

func checkSchema(meta Metadata, where string) error {
	if meta.Version == SchemaVersion {
		return nil
	}
	return &schemaError{where, meta.Version}
}

// schemaError is a database of a format that cannot be read here.
type schemaError struct {
	Where   string
	Version int
}

func (e *schemaError) Error() string {
	return fmt.Sprintf("vulnerability database %s has schema version %d; this program reads version %d", e.Where, e.Version, SchemaVersion)
}

func (e *schemaError) Hint() string {
	if e.Version > SchemaVersion {
		return "use a newer imagewright-scan"
	}
	return fmt.Sprintf("set db-repository to one that is published with the tag %d", SchemaVersion)
}

func (e *schemaError) ExitCode() int { return fault.ExitFailed }
