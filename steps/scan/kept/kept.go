// Package kept keeps what was found in layers and images, by their digests: what
// is known is not read again, nor fetched.
package kept

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/durable"
)

const (
	// MaxBytes bounds what is kept in one directory. A layer of a distribution
	// takes about 0.5 MB, an image the same, most other layers less than 0.1.
	MaxBytes = 512 << 20
	// maxAnswer bounds one answer, bytes. That about a layer of a million files has
	// 11 MB.
	maxAnswer = MaxBytes / 2
)

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
	return filepath.Join(a.dir, about.Algorithm+"-"+about.Hex+".answer")
}

// seal is the line before an answer. It tells one that was cut, damaged, or got
// to another's place; not one that was made to deceive.
func seal(about v1.Hash, sum []byte) []byte {
	return fmt.Appendf(nil, "answer about %s, sha256:%x\n", about, sum)
}

// Get opens the answer about a layer or an image; reading begins with it. ok is
// false when there is none that can be read, or it is not what was put there.
func (a *Answers) Get(about v1.Hash) (answer *os.File, ok bool) {
	path := a.path(about)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxAnswer { // a pipe would keep us waiting
		return nil, false
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	if !sealed(f, about) {
		f.Close()
		return nil, false
	}
	// Trim goes by the time of use. In a cache that cannot be written, none is
	// trimmed either.
	now := time.Now()
	_ = os.Chtimes(path, now, now)
	return f, true
}

// sealed tells whether f holds an answer as it was put there, and leaves f at its
// beginning.
func sealed(f *os.File, about v1.Hash) bool {
	want := seal(about, make([]byte, sha256.Size))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f, got); err != nil {
		return false
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, maxAnswer)); err != nil {
		return false
	}
	_, err := f.Seek(int64(len(want)), io.SeekStart)
	return err == nil && bytes.Equal(got, seal(about, sum.Sum(nil)))
}

// Put keeps an answer. After a crash at any point it is there as a whole or not
// at all.
func (a *Answers) Put(about v1.Hash, answer []byte) error {
	sum := sha256.Sum256(answer)
	head := seal(about, sum[:])
	if len(head)+len(answer) > maxAnswer {
		return fmt.Errorf("cache of results: an answer of %d bytes is larger than %d", len(answer), maxAnswer)
	}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return fmt.Errorf("cache of results: %w", err)
	}
	// Not [durable.WriteFile]: what a crash may lose is found again in a second.
	tmp, err := os.CreateTemp(a.dir, durable.TempPrefix+"*")
	if err != nil {
		return fmt.Errorf("cache of results: %w", err)
	}
	defer os.Remove(tmp.Name()) // no longer there after the rename
	_, err = tmp.Write(head)
	if err == nil {
		_, err = tmp.Write(answer)
	}
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
