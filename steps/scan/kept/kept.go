// Package kept keeps what was found in layers and images, by their digests: what
// is known is not read again, nor fetched.
package kept

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

// MaxBytes bounds what is kept in one directory. A layer of a distribution takes
// about 0.5 MB, an image the same, most other layers less than 0.1.
const MaxBytes = 512 << 20

// Answers is a directory of answers. What is in it depends on a digest and a key
// alone, so that any number of processes can share it.
type Answers struct {
	root string // of all keys
	dir  string // of this one
}

// In returns those in directory root. key stands for all that an answer depends on
// beside what it is about, such as the version of who gave it; it must be a file
// name.
func In(root, key string) *Answers { return &Answers{root, filepath.Join(root, key)} }

func (a *Answers) path(about v1.Hash) string {
	return filepath.Join(a.dir, about.Algorithm+"-"+about.Hex+".json")
}

// Get opens the answer about a layer or an image. ok is false when there is none
// that can be read, for whatever reason.
func (a *Answers) Get(about v1.Hash) (answer *os.File, ok bool) {
	path := a.path(about)
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

// Put keeps an answer. After a crash at any point it is there as a whole or not
// at all.
func (a *Answers) Put(about v1.Hash, answer []byte) error {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return fmt.Errorf("cache of results: %w", err)
	}
	// Not [durable.WriteFile]: what a crash may lose is found again in a second.
	tmp, err := os.CreateTemp(a.dir, durable.TempPrefix+"*")
	if err != nil {
		return fmt.Errorf("cache of results: %w", err)
	}
	defer os.Remove(tmp.Name()) // no longer there after the rename
	_, err = tmp.Write(answer)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), a.path(about))
	}
	if err != nil {
		return fmt.Errorf("cache of results: %w", err)
	}
	return nil
}

// Trim removes answers in root, of any key, those unused for longest first, until the
// cache has at most maxBytes; and what interrupted Puts left.
func (a *Answers) Trim(maxBytes int64) error {
	type file struct {
		path string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	err := filepath.WalkDir(a.root, func(path string, d fs.DirEntry, err error) error {
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
		return fmt.Errorf("cache of results: %w", err)
	}
	slices.SortFunc(files, func(f, g file) int { return cmp.Or(f.used.Compare(g.used), cmp.Compare(f.path, g.path)) })
	for _, f := range files {
		if total <= maxBytes {
			return nil
		}
		if err := os.Remove(f.path); ignoreAbsent(err) != nil {
			return fmt.Errorf("cache of results: %w", err)
		}
		_ = os.Remove(filepath.Dir(f.path)) // works for an empty one, as that of an old key is in the end
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
