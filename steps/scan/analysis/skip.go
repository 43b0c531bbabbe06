package analysis

import (
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// skipped tells whether the file at p is one that is not to be looked into: its
// path matches a glob of SkipFiles, or that of a directory above it one of
// SkipDirs. A glob that is none matches nothing.
func (o *Options) skipped(p string) bool {
	matches := func(globs []string, p string) bool {
		return slices.ContainsFunc(globs, func(glob string) bool {
			return doublestar.MatchUnvalidated(strings.TrimLeft(path.Clean(glob), "/"), p)
		})
	}
	if matches(o.SkipFiles, p) {
		return true
	}
	if len(o.SkipDirs) == 0 {
		return false
	}
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if matches(o.SkipDirs, dir) {
			return true
		}
	}
	return false
}
