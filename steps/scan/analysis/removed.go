package analysis

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"sort"
	"strings"
)

// Removed is a file that a later layer deletes or replaces: it is not in the
// image's file system, and still in the image.
type Removed struct {
	Path  string `json:"path"`
	Layer string `json:"layer"` // diff ID of the layer that has it
	By    int    `json:"by"`    // number of the layer that removes it; 1 is the lowest
}

// paths is a set of paths, in 8 bytes each: sorted hashes. Two paths that share
// one make a report say "replaced" of a file that was not, and no more.
type paths []byte

const pathBytes = 8

func hashPath(p string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(p)) // never fails
	return h.Sum64()
}

func newPaths(hashes []uint64) paths {
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	set := make(paths, 0, pathBytes*len(hashes))
	for _, h := range hashes {
		set = binary.BigEndian.AppendUint64(set, h)
	}
	return set
}

func (s paths) has(p string) bool {
	n, want := len(s)/pathBytes, hashPath(p)
	at := func(i int) uint64 { return binary.BigEndian.Uint64(s[i*pathBytes:]) }
	i := sort.Search(n, func(i int) bool { return at(i) >= want })
	return i < n && at(i) == want
}

// removedBy returns the number of the layer, above the i-th (from 0), that
// deletes or replaces the file at p; 0 for none.
func removedBy(layers []*Result, i int, p string) int {
	for n := i + 1; n < len(layers); n++ {
		l := layers[n]
		below := func(dir string) bool { return dir == "" || strings.HasPrefix(p, dir+"/") }
		if slices.ContainsFunc(l.OpaqueDirs, below) || l.Files.has(p) ||
			slices.ContainsFunc(l.Whiteouts, func(w string) bool { return w == p || below(w) }) {
			return n + 1
		}
	}
	return 0
}

// finishSensitive says of sensitive files, and of files with secrets, which
// layer they came with and which one removed them.
func (d *Detail) finishSensitive(layers []*Result) {
	for i, l := range layers {
		for _, f := range l.Sensitive {
			f.Layer, f.RemovedBy = d.Layers[i], removedBy(layers, i, f.Path)
			d.Sensitive = append(d.Sensitive, f)
		}
		for _, s := range l.Secrets {
			p := strings.TrimPrefix(s.FilePath, "/")
			if by := removedBy(layers, i, p); by > 0 {
				d.Removed = append(d.Removed, Removed{p, l.DiffID.String(), by})
			}
		}
	}
}
