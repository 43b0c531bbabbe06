package report

import (
	"crypto/sha256"
	"encoding/hex"
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

// fingerprints gives findings names that stay the same from run to run while
// lines and versions move. Equal findings get a number, as CodeQL does it.
type fingerprints map[string]int

func (seen fingerprints) next(f finding.Finding) string {
	h := sha256.New()
	for _, part := range []string{f.Rule, f.Place.File, f.Place.Package} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part)) // the length: "a"+"bc" is not "ab"+"c"
	}
	sum := hex.EncodeToString(h.Sum(nil)[:16])
	seen[sum]++
	return sum + ":" + strconv.Itoa(seen[sum])
}
