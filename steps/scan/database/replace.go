package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/imagewright/imagewright/internal/durable"
)

// lockRetry is how often a lock that another process holds is asked for.
const lockRetry = 100 * time.Millisecond

// lock keeps other processes from updating the database in cacheDir. It waits
// for the one that does until ctx is done. The lock ends with the process.
func lock(ctx context.Context, kind Kind, cacheDir string) (unlock func(), err error) {
	l := flock.New(filepath.Join(cacheDir, kind.folder+".lock"))
	if _, err := l.TryLockContext(ctx, lockRetry); err != nil {
		return nil, fmt.Errorf("lock the %s in %s: %w", kind.Name, cacheDir, err)
	}
	return func() { l.Close() }, nil // closing is what unlocks; nothing was written that could be lost
}

// tempPrefix starts the names of temporary directories, beside the database's.
func (k Kind) tempPrefix() string { return durable.TempPrefix + k.folder + "-" }

// replace puts the directory fresh where dir is, in one step where the file
// system can exchange two names. fresh must be on dir's file system and durable.
func (k Kind) replace(dir, fresh string) error {
	if err := exchange(dir, fresh); err == nil {
		return finishReplace(dir, fresh)
	}
	// There is no old one, or names can't be exchanged. A reader that comes
	// between the two renames finds no database, and a crash there leaves none:
	// the next run downloads it.
	old, err := os.MkdirTemp(filepath.Dir(dir), k.tempPrefix())
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(old, k.folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.RemoveAll(old))
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return finishReplace(dir, old)
}

func finishReplace(dir, old string) error {
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// sweep removes what killed runs left in cacheDir. Only the holder of the lock
// may: nobody else writes such names.
func sweep(kind Kind, cacheDir string) error {
	left, err := filepath.Glob(filepath.Join(cacheDir, kind.tempPrefix()+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
