package analysis

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite"
)

// maxRpmQuery is how long a query may take: 100 MB take a second. SQLite checks
// what it reads, but pages that name one another can make it read them for ever.
const maxRpmQuery = time.Minute

// readSQLite reads the format of rpm since version 4.16. The query is what
// go-rpmdb asks, with bounds: no value is larger than the file, and its size
// counts for all rows together.
func (db *rpmDatabase) readSQLite(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxRpmQuery, fmt.Errorf("the database could not be read within %v", maxRpmQuery))
	defer cancel()
	file, err := db.namedFile()
	if err != nil {
		return err
	}
	defer os.Remove(file)
	// Immutable: neither locked nor, where rpm left a write-ahead log on, given one.
	name := url.URL{Scheme: "file", Path: file, RawQuery: "mode=ro&immutable=1&_pragma=cell_size_check(1)&_pragma=trusted_schema(0)"}
	pool, err := sql.Open("sqlite", name.String())
	if err != nil {
		return err
	}
	defer pool.Close()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	const limitLength = 0 // SQLITE_LIMIT_LENGTH, bytes of any value
	if _, err := sqlite.Limit(conn, limitLength, int(min(db.size, maxRpmHeader))); err != nil {
		return err
	}
	if err := plainTable(ctx, conn); err != nil {
		return err
	}
	return db.rows(ctx, conn)
}

// plainTable makes sure that Packages is a table that holds what it returns: a
// view, or a column that is computed, could return anything, for ever.
func plainTable(ctx context.Context, conn *sql.Conn) error {
	var plain bool
	err := conn.QueryRowContext(ctx, `SELECT
		EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = 'Packages' COLLATE NOCASE) AND
		EXISTS (SELECT 1 FROM pragma_table_xinfo('Packages') WHERE name = 'blob' COLLATE NOCASE AND hidden = 0)`).Scan(&plain)
	if err != nil {
		return queryError(ctx, err)
	}
	if !plain {
		return errors.New("it has no table of packages")
	}
	return nil
}

func (db *rpmDatabase) rows(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, "SELECT blob FROM Packages")
	if err != nil {
		return queryError(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var header sql.RawBytes
		if err := rows.Scan(&header); err != nil {
			return queryError(ctx, err)
		}
		if err := db.room(int64(len(header))); err != nil {
			return err
		}
		if err := db.each(header); err != nil {
			return err
		}
	}
	return queryError(ctx, rows.Err())
}

func queryError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// namedFile copies the content to a file with a name, which is the caller's to
// remove.
func (db *rpmDatabase) namedFile() (string, error) {
	f, err := os.CreateTemp(db.tempDir, "imagewright-scan-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, io.NewSectionReader(db, 0, db.size))
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
