// Package durable writes files that survive a crash: a temporary file beside
// the target, fsync, rename, fsync of the directory.
package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// TempPrefix begins the name of every temporary file of this package. What a
// killed process left behind can be told by it and removed.
const TempPrefix = ".tmp-"

// WriteFile replaces path with what write produces, with exactly perm (no
// umask). After a crash at any point, power loss included, path is the old file
// or the new one, never a part. On error the old file is untouched.
func WriteFile(path string, perm os.FileMode, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	tmp, err := os.CreateTemp(dir, TempPrefix+"*") // same directory: a rename cannot cross file systems
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no longer there after the rename
	if err := errors.Join(write(tmp), tmp.Chmod(perm), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir) // else the rename itself may be lost
}

// SyncDir makes the names in directory dir durable: files created, renamed and
// removed there before the call stay so after a crash.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
