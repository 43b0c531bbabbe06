// Package version is the one grammar of tags: what a tag's name says, and in
// which order versions stand. tag, push and prune read tags through it alone.
//
// The class of a tag depends on its name only, never on the tags beside it.
// Nothing is guessed leniently: 20240101 is a date, 1234567 a commit or a
// number, and neither is ever a version, though lenient semver parsers read
// 20240101.0.0 and sort it above 2.0.0.
package version

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Class is what a tag's name says it is.
type Class string

// The classes. The first that matches, in this order, is a tag's class.
const (
	Machinery   Class = "machinery" // sha256-<hex>, with .sig, .att, .sbom…: belongs to its subject, never to a user's rule
	Trash       Class = "trash"     // TrashPrefix: put aside by prune
	Version     Class = "version"   // v1.2.3, 1.2.3-rc.1, 1.2.3-20231125-7a3b5c9-alpine
	Floating    Class = "floating"  // latest, edge, stable, 1, 1.2, v1-alpine: meant to move
	Calver      Class = "calver"    // 2024.1, 2024.01.15: a version whose first part is a year
	Date        Class = "date"      // 20240101, 2024-01-15, 20240101-7a3b5c9
	SHA         Class = "sha"       // sha-7a3b5c9, 7a3b5c9
	PullRequest Class = "pr"        // pr-7, mr-7
	Branch      Class = "branch"    // main, develop, feature-x
	Other       Class = "other"     // everything else, and what no registry accepts
)

// rank gives classes the order of their declaration.
func (c Class) rank() int {
	order := [...]Class{Machinery, Trash, Version, Floating, Calver, Date, SHA, PullRequest, Branch}
	if i := slices.Index(order[:], c); i >= 0 {
		return i
	}
	return len(order)
}

// TrashPrefix begins the names that prune gives to what it puts aside.
const TrashPrefix = "imagewright-trash-"

// Tag is a tag's name, taken apart. Fields that its class does not have are
// zero. Tags are comparable with ==.
type Tag struct {
	Text  string // the name as given
	Class Class

	// Ambiguous: the name is all digits and at least seven long, so a commit
	// or a plain number. No rule about versions or commits should delete it.
	Ambiguous bool

	Prefix              string // "v" or "": Version, Floating, Calver
	Major, Minor, Patch uint64 // Version, Calver, Floating
	Parts               int    // how many of these the name has: 3 for Version, 2 or 3 for Calver, 0 (latest) to 2 for Floating

	Prerelease string // "rc.1": Version, Calver
	Variant    string // "alpine3.19": Version, Calver, Floating, Date, SHA

	Built  time.Time // the date of a build suffix, UTC: Version, Calver; the date itself: Date
	Commit string    // the commit of a build suffix: Version, Calver; of Date and SHA, where the name has one

	// Subject is the digest a Machinery tag belongs to, "sha256:<hex>". The
	// referrers tag schema cuts the hex of a longer digest to 64 characters.
	Subject string

	core    string // the numbers, or the word, as written: 2024.01.15 keeps its zero
	built   string // the date of the build suffix as written: 8 or 14 digits
	buildAt int    // how many dash-separated pieces stand before the build suffix
}

// IsPrerelease reports whether t comes before the release of its numbers. A
// build suffix (-20231125-7a3b5c9) or a variant (-alpine) makes no prerelease.
func (t Tag) IsPrerelease() bool { return t.Prerelease != "" }

// HasBuild reports whether t ends in a build suffix, as in v1.2.3-20231125-7a3b5c9.
func (t Tag) HasBuild() bool {
	return (t.Class == Version || t.Class == Calver) && !t.Built.IsZero()
}

// String returns the name, put together again from its parts. For every tag of
// Parse it is the text that was parsed.
func (t Tag) String() string {
	switch t.Class {
	case Version, Calver, Floating:
	default:
		return t.Text
	}
	var pieces []string
	for _, s := range [...]string{t.Prerelease, t.Variant} {
		if s != "" {
			pieces = append(pieces, strings.Split(s, "-")...)
		}
	}
	if t.HasBuild() {
		at := min(t.buildAt, len(pieces))
		rest := append([]string{t.built, t.Commit}, pieces[at:]...)
		pieces = append(pieces[:at:at], rest...)
	}
	return strings.Join(append([]string{t.Prefix + t.core}, pieces...), "-")
}

// LineKey tells lines of versions apart: "keep the newest five", "the highest
// 1.x" and the like count within one line. 1.2.3 and 1.2.4-alpine are never
// compared, nor 1.2.3 and v1.2.4, nor 2.0.0 and 2024.1.15.
type LineKey struct {
	Calver  bool
	Prefix  string
	Variant string
}

// LineKey returns the line of t; the zero key where t is neither Version nor Calver.
func (t Tag) LineKey() LineKey {
	if t.Class != Version && t.Class != Calver {
		return LineKey{}
	}
	return LineKey{Calver: t.Class == Calver, Prefix: t.Prefix, Variant: t.Variant}
}

// Floats returns the floating names that t may be behind, narrow ones first:
// 1.2, 1 and latest for 1.2.3; v1.2-alpine, v1-alpine and latest-alpine for
// v1.2.3-alpine; latest alone for a Calver. None for a prerelease, and none for
// what is no version. Whether t is the newest behind them is the caller's question.
func (t Tag) Floats() []string {
	if t.IsPrerelease() {
		return nil
	}
	var names []string
	switch t.Class {
	case Version:
		names = []string{
			fmt.Sprintf("%s%d.%d", t.Prefix, t.Major, t.Minor),
			fmt.Sprintf("%s%d", t.Prefix, t.Major),
			latest,
		}
	case Calver:
		names = []string{latest}
	default:
		return nil
	}
	if t.Variant != "" {
		for i := range names {
			names[i] += "-" + t.Variant
		}
	}
	return names
}

// shortCommit is how many digits of a commit stand in a release's name, as in
// git's own short form.
const shortCommit = 7

// ReleaseName returns the tag of one build of a version, as in
// v1.2.3-20231125-7a3b5c9: release is a semantic version without "v", date and
// commit (full, or at least seven digits) are those of the build's commit. The
// same commit always gets the same name.
func ReleaseName(release string, date time.Time, commit string) string {
	return "v" + release + "-" + date.UTC().Format(day) + "-" + commit[:min(shortCommit, len(commit))]
}

// WithoutBuild returns the name of t without its build suffix.
func (t Tag) WithoutBuild() string {
	t.Built = time.Time{}
	return t.String()
}

// maxName is the longest tag a registry takes.
const maxName = 128

// CheckName returns an error that says why no registry accepts tag, or nil.
//
// Rule: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
func CheckName(tag string) error {
	if tag == "" {
		return errors.New("a tag cannot be empty")
	}
	if len(tag) > maxName {
		return fmt.Errorf("tag %.40q…: %d characters; a registry takes at most %d", tag, len(tag), maxName)
	}
	for i, r := range tag {
		switch {
		case isAlnum(r), r == '_':
		case r == '.', r == '-':
			if i == 0 {
				return fmt.Errorf("tag %q: cannot begin with %q", tag, r)
			}
		default:
			return fmt.Errorf("tag %q: %q is not allowed; want letters, digits, '_', '.' and '-'", tag, r)
		}
	}
	return nil
}

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
