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

// deletion is what a layer takes away from those below it.
type deletion struct {
	whole map[string]bool // paths that go with all below them
	below map[string]bool // directories that are emptied; "" is the root
	files paths           // that take the place of others
}

func deletions(layers []*Result) []deletion {
	all := make([]deletion, len(layers))
	for i, l := range layers {
		all[i] = deletion{setOf(l.Whiteouts), setOf(l.OpaqueDirs), l.Files}
	}
	return all
}

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set
}

// takes tells whether the file at p is taken away.
func (d *deletion) takes(p string) bool {
	if d.files.has(p) || d.whole[p] || d.below[""] {
		return true
	}
	for i := range len(p) {
		if p[i] == '/' && (d.whole[p[:i]] || d.below[p[:i]]) {
			return true
		}
	}
	return false
}

// removedBy returns the number of the layer, above the i-th (from 0), that
// deletes or replaces the file at p; 0 for none.
func removedBy(all []deletion, i int, p string) int {
	for n := i + 1; n < len(all); n++ {
		if all[n].takes(p) {
			return n + 1
		}
	}
	return 0
}

// finishSensitive says of sensitive files, and of files with secrets, which
// layer they came with and which one removed them.
func (d *Detail) finishSensitive(layers []*Result) {
	gone := deletions(layers)
	for i, l := range layers {
		for _, f := range l.Sensitive {
			f.Layer, f.RemovedBy = d.Layers[i], removedBy(gone, i, f.Path)
			d.Sensitive = append(d.Sensitive, f)
		}
		for _, s := range l.Secrets {
			p := strings.TrimPrefix(s.FilePath, "/")
			if by := removedBy(gone, i, p); by > 0 {
				d.Removed = append(d.Removed, Removed{p, l.DiffID.String(), by})
			}
		}
	}
}
