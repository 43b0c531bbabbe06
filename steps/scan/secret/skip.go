package secret

import (
	"slices"
	"strings"
	"sync"

	"github.com/bmatcuk/doublestar/v4"
)

// skipper knows the paths that are not scanned: those of Trivy's and the user's
// skip patterns and allow rules. A layer may have millions of files, so it finds
// out first which expressions can match at all.
type skipper struct {
	globs []glob
	allow []*pattern
	sieve func() *sieve // of allow
	spare sync.Pool     // of *pathSifter
}

// glob is a pattern and a part of it that each path it matches contains.
type glob struct{ pattern, part string }

// pathSifter is the scratch memory for one path.
type pathSifter struct {
	*sifter
	path []byte
}

func newSkipper(rules *ruleSet) *skipper {
	s := &skipper{}
	for _, p := range rules.Skip {
		s.globs = append(s.globs, glob{p, literal(p)})
	}
	var all []condition
	for _, r := range rules.Allow {
		if r.Path != nil {
			s.allow = append(s.allow, r.Path)
			all = append(all, condition{expression: r.Path.text})
		}
	}
	s.sieve = sync.OnceValue(func() *sieve { return newSieve(all) })
	s.spare.New = func() any { return &pathSifter{sifter: s.sieve().sifter()} }
	return s
}

// literal returns the longest part of a glob that stands for itself. It spans no
// slash, since "**/" may stand for nothing.
func literal(pattern string) string {
	if strings.ContainsAny(pattern, `[{\`) {
		return "" // these may stand for anything
	}
	parts := strings.FieldsFunc(pattern, func(r rune) bool { return strings.ContainsRune("*?/", r) })
	slices.SortStableFunc(parts, func(a, b string) int { return len(b) - len(a) })
	if len(parts) == 0 {
		return ""
	}
	return parts[0]
}

// skips reports whether a path, without leading slash, is not scanned. Allow
// rules are tried with and without one, as Trivy does: its analyzer does the
// one, its scanner the other.
func (s *skipper) skips(path string) bool {
	for _, g := range s.globs {
		if strings.Contains(path, g.part) && doublestar.MatchUnvalidated(g.pattern, path) {
			return true
		}
	}
	p := s.spare.Get().(*pathSifter)
	defer s.spare.Put(p)
	p.path = append(append(append(p.path[:0], '/'), path...), make([]byte, padding)...)
	for _, i := range s.sieve().sift(p.path[:1+len(path)], p.sifter) {
		if re := s.allow[i].regexp(); re.MatchString(path) || re.MatchString("/"+path) {
			return true
		}
	}
	return false
}
