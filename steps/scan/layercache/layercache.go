// Package layercache keeps what was found in the layers of images, by diff ID:
// a layer that is known is not read again, nor fetched.
package layercache

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/durable"
)

// DefaultMaxBytes bounds a cache. A layer of a distribution takes about 1 MB,
// most others less than 0.1.
const DefaultMaxBytes = 512 << 20

// Cache is a directory of answers. What is in it depends on a diff ID and a
// key alone, so that any number of processes can share it.
type Cache struct {
	root string // of all keys
	dir  string // of this one
}

// New returns the cache in directory root. key stands for all that an answer
// depends on beside the layer, such as the version of who gave it; it must be a
// file name.
func New(root, key string) *Cache { return &Cache{root, filepath.Join(root, key)} }

func (c *Cache) path(diffID v1.Hash) string {
	return filepath.Join(c.dir, diffID.Algorithm+"-"+diffID.Hex+".json")
}

// Get opens the answer about a layer. ok is false when there is none that can be
// read, for whatever reason.
func (c *Cache) Get(diffID v1.Hash) (answer *os.File, ok bool) {
	path := c.path(diffID)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() { // a pipe would keep us waiting
		return nil, false
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	// Trim goes by the time of use. In a cache that cannot be written, none is
	// trimmed either.
	now := time.Now()
	_ = os.Chtimes(path, now, now)
	return f, true
}

// Put keeps the answer about a layer. After a crash at any point it is there as
// a whole or not at all.
func (c *Cache) Put(diffID v1.Hash, answer []byte) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	// Not [durable.WriteFile]: what a crash may lose is found again in a second.
	tmp, err := os.CreateTemp(c.dir, durable.TempPrefix+"*")
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	defer os.Remove(tmp.Name()) // no longer there after the rename
	_, err = tmp.Write(answer)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), c.path(diffID))
	}
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	return nil
}

// Trim removes answers of any key, those unused for longest first, until the
// cache has at most maxBytes; and what interrupted Puts left.
func (c *Cache) Trim(maxBytes int64) error {
	type file struct {
		path string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreAbsent(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreAbsent(err)
		}
		files = append(files, file{path, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	for _, f := range files {
		if total <= maxBytes {
			return nil
		}
		if err := os.Remove(f.path); ignoreAbsent(err) != nil {
			return fmt.Errorf("layer cache: %w", err)
		}
		total -= f.size
	}
	return nil
}

// ignoreAbsent: another process may trim, too.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
