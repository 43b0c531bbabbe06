package report

import (
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/imagewright/imagewright/internal/finding"
)

// noFile stands where a format demands a path and the finding has none.
const noFile = "image"

// relative makes file a path below the root: no leading slash, no "..", never
// empty.
func relative(file string) string {
	if p := strings.TrimPrefix(path.Clean("/"+file), "/"); p != "" {
		return p
	}
	return noFile
}

// relativeURI is relative(file) as a relative reference of RFC 3986.
func relativeURI(file string) string {
	segments := strings.Split(relative(strings.ToValidUTF8(file, "\uFFFD")), "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	// A colon in the first segment would make what is before it a scheme.
	segments[0] = strings.ReplaceAll(segments[0], ":", "%3A")
	return strings.Join(segments, "/")
}

// fingerprints numbers findings that have the same fingerprint, as CodeQL does
// it: a report wants each once.
type fingerprints map[string]int

func (seen fingerprints) next(f finding.Finding) string {
	sum := f.Fingerprint()
	seen[sum]++
	return sum + ":" + strconv.Itoa(seen[sum])
}
