package image

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/durable"
)

const (
	// MaxPlainLayers bounds what [PlainLayers] keep, in bytes. A hosted runner
	// has 14 GB of disk, of which a new layer already takes its size once, and
	// its compressed size twice.
	MaxPlainLayers = 1 << 30

	// plainDir is where in their directory the layers lie: by algorithm, as
	// blobs do.
	plainDir = "sha256"
)

// PlainLayers are layers as they were before they were compressed, in a
// directory beside a layout; each is a file named by its diff ID. To read one
// takes a tenth of what its blob would: decompressing is most of the rest.
//
// They are worth having, and no more. None need be there; one that is has its
// name only since it was whole, but was never synced, and whoever can write to
// the directory can write anything: it is to be verified ([Unpack] does), and the
// blob to be read where it is not what its name says.
type PlainLayers struct{ root *os.Root }

// OpenPlainLayers returns those in dir; where there is no such directory, the
// error is fs.ErrNotExist. A symbolic link is an error: through one that a
// checkout brought along, another directory would be swept.
func OpenPlainLayers(dir string) (*PlainLayers, error) {
	below := filepath.Join(dir, plainDir)
	for _, d := range []string{dir, below} {
		info, err := os.Lstat(d)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is no directory (%s)", d, kindOf(info.Mode()))
		}
	}
	root, err := os.OpenRoot(below)
	if err != nil {
		return nil, err
	}
	return &PlainLayers{root}, nil
}

// CreatePlainLayers returns those in dir, for a new writer: the directory is
// made when it is missing, and what killed writers left there is removed. Its
// parent must be there.
func CreatePlainLayers(dir string) (*PlainLayers, error) {
	for _, d := range []string{dir, filepath.Join(dir, plainDir)} {
		if info, err := os.Lstat(filepath.Dir(d)); err != nil || !info.IsDir() {
			return nil, errors.Join(fmt.Errorf("%s is no directory", filepath.Dir(d)), err)
		}
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	p, err := OpenPlainLayers(dir)
	if err != nil {
		return nil, err
	}
	if err := p.Sweep(func(v1.Hash) bool { return true }); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// ReceivePlainLayers returns those in a directory that another process opened,
// with [PlainLayers.Directory]: to write them one needs its descriptor, and not
// to know where it is. dir may be closed afterwards.
func ReceivePlainLayers(dir *os.File) (*PlainLayers, error) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return nil, err
	}
	return &PlainLayers{root}, nil
}

// Directory opens what [ReceivePlainLayers] takes. The caller must close it.
func (p *PlainLayers) Directory() (*os.File, error) { return p.root.Open(".") }

// Close ends the use of p. Files that were opened stay open.
func (p *PlainLayers) Close() error { return p.root.Close() }

// Open opens the layer with that diff ID, if it is there, and a regular file of
// at most [MaxPlainLayers] bytes. A nil p has none. The caller must close it.
func (p *PlainLayers) Open(diffID v1.Hash) (*os.File, bool) {
	if p == nil || checkHash(diffID) != nil {
		return nil, false
	}
	before, err := p.root.Lstat(diffID.Hex)
	if err != nil || !before.Mode().IsRegular() || before.Size() > MaxPlainLayers {
		return nil, false
	}
	// O_NONBLOCK, should it have become a pipe by now.
	f, err := p.root.OpenFile(diffID.Hex, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		f.Close()
		return nil, false
	}
	return f, true
}

// Sweep removes the layers that keep does not want, what killed writers left
// behind, and of the rest the largest, until [MaxPlainLayers] bytes remain at
// most. Only the one writer of a workspace may call it.
func (p *PlainLayers) Sweep(keep func(diffID v1.Hash) bool) error {
	entries, err := fs.ReadDir(p.root.FS(), ".")
	if err != nil {
		return err
	}
	var total int64
	var kept, unwanted []fs.FileInfo
	for _, e := range entries {
		h := v1.Hash{Algorithm: "sha256", Hex: e.Name()}
		layer := checkHash(h) == nil
		if e.IsDir() || !layer && !strings.HasPrefix(e.Name(), durable.TempPrefix) {
			continue // none of ours
		}
		info, err := p.root.Lstat(e.Name())
		if err != nil {
			return err
		}
		if !layer || !info.Mode().IsRegular() || !keep(h) {
			unwanted = append(unwanted, info)
			continue
		}
		kept = append(kept, info)
		total += info.Size()
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return cmp.Compare(b.Size(), a.Size()) })
	for ; total > MaxPlainLayers; kept = kept[1:] {
		unwanted = append(unwanted, kept[0])
		total -= kept[0].Size()
	}
	for _, info := range unwanted {
		if err := p.root.Remove(info.Name()); err != nil {
			return err
		}
	}
	return nil
}

// PlainLayer is a layer that is being written to [PlainLayers]: nobody finds it
// before it is kept.
type PlainLayer struct {
	dir  *os.Root // its own: who closes the PlainLayers need not wait for it
	file *os.File
	name string
}

// New begins a layer. It must be kept or discarded.
func (p *PlainLayers) New() (*PlainLayer, error) {
	dir, err := p.root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	name := durable.TempPrefix + rand.Text()
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		dir.Close()
		return nil, err
	}
	return &PlainLayer{dir, f, name}, nil
}

// Write writes the next part of the layer's tar.
func (l *PlainLayer) Write(b []byte) (int, error) { return l.file.Write(b) }

// Keep gives the layer its name, and the owner of the directory it is in. It is
// not synced: who reads it verifies it. On error nothing of it is left.
func (l *PlainLayer) Keep(diffID v1.Hash) error {
	err := checkHash(diffID)
	if err == nil {
		err = errors.Join(l.handOver(), l.file.Chmod(0o644), l.file.Close())
	}
	if err == nil {
		err = l.dir.Rename(l.name, diffID.Hex)
	}
	if err != nil {
		l.Discard()
		return err
	}
	return l.dir.Close()
}

// handOver gives a file that root made to the directory's owner, who is the one
// to remove it.
func (l *PlainLayer) handOver() error {
	dir, err := l.dir.Stat(".")
	if err != nil {
		return err
	}
	own, err := l.file.Stat()
	if err != nil {
		return err
	}
	to, made := dir.Sys().(*syscall.Stat_t), own.Sys().(*syscall.Stat_t)
	if to.Uid == made.Uid {
		return nil
	}
	return l.file.Chown(int(to.Uid), int(to.Gid))
}

// Discard removes what was written.
func (l *PlainLayer) Discard() {
	l.file.Close()
	l.dir.Remove(l.name)
	l.dir.Close()
}
