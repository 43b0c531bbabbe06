// Package detection matches the packages of an image with a vulnerability
// database, by Trivy's detectors.
//
// trivy-db keeps its handle in a package variable: a process can have one
// database open, and Open refuses a second.
//
// Trivy's packages log through slog's default logger, which they replace by one
// that keeps everything for later when they are loaded; a program that links
// this package calls [slog.SetDefault] itself when it starts.
package detection

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	databaseFile = "trivy.db"
	lockTimeout  = 5 * time.Second // a writer that replaces instead of renaming holds it shorter
)

// Database is an open vulnerability database.
type Database struct{ dir string }

// Errors of Open, to be found with errors.Is.
var (
	ErrMissing = errors.New("it is not there")
	ErrEmpty   = errors.New("it holds no advisories: every image would pass")
	ErrDamaged = errors.New("it is damaged")
)

var errBusy = errors.New("another process is writing it")

// Open opens the database trivy.db in dir; see [OpenFile].
//
// Errors: [ErrMissing], [ErrEmpty], [ErrDamaged].
func Open(dir string) (*Database, error) {
	path, err := filepath.Abs(filepath.Join(dir, databaseFile))
	if err != nil {
		return nil, describe(dir, err)
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, describe(dir, ErrMissing)
	case err != nil:
		return nil, describe(dir, err)
	}
	defer f.Close()
	return OpenFile(f)
}

// OpenFile opens the database in f, of a schema version that package database
// has checked. f stays the caller's. Nothing is written, and a damaged database
// is left as it is.
//
// Errors: [ErrEmpty], [ErrDamaged].
func OpenFile(f *os.File) (*Database, error) {
	dir := filepath.Dir(f.Name())
	if c := (trivydb.Config{}).Connection(); c != nil && c.Path() != "" {
		return nil, describe(dir, errors.New("another one is open in this process"))
	}
	info, err := f.Stat()
	if err != nil {
		return nil, describe(dir, err)
	}
	if err := open(f); err != nil {
		return nil, describe(dir, err)
	}
	if err := guard(func() error { return check(info.Size()) }); err != nil {
		trivydb.Close()
		return nil, describe(dir, err)
	}
	return &Database{dir}, nil
}

// Close closes the database.
func (d *Database) Close() error {
	if err := guard(trivydb.Close); err != nil {
		return describe(d.dir, err)
	}
	return nil
}

// describe names the database in an error and says what to do about it.
func describe(dir string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, ErrMissing):
		hint = "let the scan fetch it, or check db-repository"
	case errors.Is(err, ErrEmpty), errors.Is(err, ErrDamaged):
		hint = "remove it so that it is fetched again, or check db-repository"
	case errors.Is(err, errBusy):
		hint = "scan again when it has ended, or set cache-dir to a directory of its own"
	}
	return fault.Failed(fmt.Errorf("vulnerability database %s: %w", dir, err), hint)
}

// open makes the database in f the one trivy-db reads.
func open(f *os.File) error {
	// Trivy's Init opens a path, and deletes the file there when it faults. The
	// database may be shared, what is wrong with it should stay visible, and this
	// process may not be allowed to open it. So the path it gets is of no file.
	options := &bolt.Options{ReadOnly: true, Timeout: lockTimeout, OpenFile: func(string, int, os.FileMode) (*os.File, error) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		return os.NewFile(uintptr(fd), f.Name()), nil
	}}
	err := guard(func() error { return trivydb.Init(os.TempDir(), trivydb.WithBoltOptions(options)) })
	switch {
	case err == nil, errors.Is(err, ErrDamaged):
		return err
	case errors.Is(err, bolterrors.ErrTimeout):
		return errBusy
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// check looks at what tells a usable database from an empty or cut one. The
// rest is the digest's business, when it is fetched.
func check(size int64) error {
	return trivydb.Config{}.Connection().View(func(tx *bolt.Tx) error {
		if tx.Size() > size {
			return fmt.Errorf("%w: %d bytes long, and should be %d", ErrDamaged, size, tx.Size())
		}
		if tx.Bucket([]byte("vulnerability")) == nil {
			return ErrEmpty
		}
		c := tx.Cursor()
		for name, _ := c.First(); name != nil; name, _ = c.Next() {
			switch string(name) {
			case "vulnerability", "data-source", "Red Hat CPE":
				continue // about advisories, and not advisories
			}
			if b := tx.Bucket(name); b != nil {
				if pkg, _ := b.Cursor().First(); pkg != nil {
					return nil
				}
			}
		}
		return ErrEmpty
	})
}

// guard runs f and turns a fault in the mapped file, and a panic about what is
// in it, into ErrDamaged.
func guard(f func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error: // where in the code, which tells nobody anything
			err = ErrDamaged
		default:
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}
