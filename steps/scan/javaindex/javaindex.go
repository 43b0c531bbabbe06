// Package javaindex looks Java archives up in an index of Maven Central.
//
// The index is Trivy's: an SQLite database of the artifacts published there,
// with the digests of their archives
// (https://github.com/aquasecurity/trivy-java-db). It is read through a
// descriptor: no path is opened, nothing is written, and what the file holds is
// not trusted.
package javaindex

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
	"modernc.org/sqlite/vfs"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	// maxValue bounds one value or row, bytes: coordinates are some hundred.
	maxValue = 64 << 10
	// lookupTimeout bounds one lookup, which takes less than a millisecond where
	// the tables have their indices.
	lookupTimeout = 30 * time.Second
)

const (
	byName = `
		SELECT EXISTS (
			SELECT 1 FROM artifacts a JOIN indices i ON i.artifact_id = a.id
			WHERE a.group_id = ? AND a.artifact_id = ? AND a.artifact_id <> '')`
	bySHA1 = `
		SELECT a.group_id, a.artifact_id, i.version
		FROM indices i JOIN artifacts a ON a.id = i.artifact_id
		WHERE i.sha1 = ?`
	// As in Trivy, an archive counts once for each jar of the version asked for.
	byArtifactID = `
		SELECT wanted.group_id
		FROM indices i JOIN (
			SELECT a.id, a.group_id
			FROM indices m JOIN artifacts a ON a.id = m.artifact_id
			WHERE a.artifact_id = ? AND m.version = ? AND m.archive_type = 'jar') wanted ON wanted.id = i.artifact_id
		GROUP BY wanted.group_id ORDER BY count(*) DESC, wanted.group_id LIMIT 1`
)

// Errors of Open, to be found with errors.Is.
var (
	ErrEmpty   = errors.New("it holds no artifacts: nothing would be identified")
	ErrDamaged = errors.New("it is damaged")
)

// Artifact is what an archive is called in Maven repositories.
type Artifact struct {
	GroupID    string `json:"groupID"`
	ArtifactID string `json:"artifactID"`
	Version    string `json:"version"`
}

// Index is an open index. Its methods may be called at the same time.
type Index struct {
	mu   sync.Mutex
	db   *sql.DB
	conn *sql.Conn
	fs   *vfs.FS
	file *os.File
}

// Open opens the index in f, of a schema version that package database has
// checked, and closes f when the index is closed. On error f stays open.
//
// Errors: [ErrEmpty], [ErrDamaged].
func Open(f *os.File) (*Index, error) {
	files, err := newOnlyFile(f)
	if err != nil {
		return nil, describe(err)
	}
	x := &Index{}
	if err := guard(func() error { return x.open(files) }); err != nil {
		return nil, describe(errors.Join(err, x.Close()))
	}
	x.file = f
	return x, nil
}

// describe says what to do about an index that cannot be used.
func describe(err error) error {
	return fault.Failed(fmt.Errorf("index of Java archives: %w", err), "remove it so that it is fetched again, or check java-db-repository")
}

func (x *Index) open(files *onlyFile) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	name, fs, err := vfs.New(files)
	if err != nil {
		return err
	}
	x.fs = fs
	// Immutable: neither locks nor a journal are looked for beside it.
	if x.db, err = sql.Open("sqlite", "file:"+fileName+"?mode=ro&immutable=1&vfs="+name); err != nil {
		return err
	}
	x.db.SetMaxOpenConns(1)
	if x.conn, err = x.db.Conn(ctx); err != nil {
		return damaged(err)
	}
	if _, err := sqlite.Limit(x.conn, sqlite3.SQLITE_LIMIT_LENGTH, maxValue); err != nil {
		return err
	}
	// The schema is a stranger's too: its expressions may call nothing.
	if _, err := x.conn.ExecContext(ctx, "PRAGMA trusted_schema=OFF; PRAGMA query_only=ON; PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0"); err != nil {
		return damaged(err)
	}
	return x.check(ctx)
}

// check tells an index from another database, and from an empty one.
func (x *Index) check(ctx context.Context) error {
	var tables, others int
	if err := x.conn.QueryRowContext(ctx, `
		SELECT count(*) FILTER (WHERE type = 'table' AND rootpage > 0 AND name IN ('artifacts', 'indices')),
		       count(*) FILTER (WHERE type NOT IN ('table', 'index'))
		FROM sqlite_schema`).Scan(&tables, &others); err != nil {
		return damaged(err)
	}
	if tables != 2 || others != 0 { // no virtual tables, views or triggers
		return errors.New("it is another database: want the tables artifacts and indices, and nothing that runs")
	}
	var filled bool
	if err := x.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM indices)`).Scan(&filled); err != nil {
		return damaged(err)
	}
	if !filled {
		return ErrEmpty
	}
	for _, q := range []struct {
		query string
		args  []any
	}{{byName, []any{"", ""}}, {bySHA1, []any{[]byte{}}}, {byArtifactID, []any{"", ""}}} {
		rows, err := x.conn.QueryContext(ctx, q.query, q.args...)
		if err != nil { // a column that it reads is missing
			return damaged(err)
		}
		if err := rows.Close(); err != nil {
			return damaged(err)
		}
	}
	return nil
}

// Exists reports whether an artifact of that name was published, in any version.
func (x *Index) Exists(ctx context.Context, groupID, artifactID string) (found bool, err error) {
	err = x.lookup(ctx, byName, []any{groupID, artifactID}, &found)
	return found, err
}

// SearchBySHA1 returns what the archive with that digest, in hexadecimal, was
// published as. An unknown one is the zero Artifact.
func (x *Index) SearchBySHA1(ctx context.Context, sha1 string) (a Artifact, err error) {
	digest, err := hex.DecodeString(sha1)
	if err != nil {
		return a, fmt.Errorf("look up SHA-1 %q: %w", sha1, err)
	}
	err = x.lookup(ctx, bySHA1, []any{digest}, &a.GroupID, &a.ArtifactID, &a.Version)
	return a, err
}

// SearchByArtifactID returns the group that published a jar of that name and
// version; of several the one with most archives, then the first by name. It is
// empty when there is none.
func (x *Index) SearchByArtifactID(ctx context.Context, artifactID, version string) (groupID string, err error) {
	err = x.lookup(ctx, byArtifactID, []any{artifactID, version}, &groupID)
	return groupID, err
}

// lookup scans the first row of a query into to; without rows it leaves to as
// it is.
func (x *Index) lookup(ctx context.Context, query string, args []any, to ...any) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	err := guard(func() error { return x.conn.QueryRowContext(limited, query, args...).Scan(to...) })
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return describe(fmt.Errorf("a lookup took more than %s", lookupTimeout))
	}
	return describe(damaged(err))
}

// Close closes the index and its file.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return guard(func() error {
		var errs []error
		if x.conn != nil {
			errs = append(errs, x.conn.Close())
		}
		if x.db != nil {
			errs = append(errs, x.db.Close())
		}
		if x.fs != nil {
			errs = append(errs, x.fs.Close())
		}
		if x.file != nil {
			errs = append(errs, x.file.Close())
		}
		return errors.Join(errs...)
	})
}

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }

// guard makes an error of a panic, and of a fault: SQLite here is translated C,
// whose memory Go knows nothing of.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged(fmt.Errorf("reading it broke off: %v", r))
		}
	}()
	return do()
}
