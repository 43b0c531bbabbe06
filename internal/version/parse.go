package version

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// latest is the floating name that every line has.
const latest = "latest"

// Layouts of the dates in tags.
const (
	day     = "20060102"
	seconds = "20060102150405"
)

// Compiled once: they are constants in all but syntax.
var (
	machineryName = regexp.MustCompile(`^(sha256-[0-9a-f]{64}|sha512-(?:[0-9a-f]{128}|[0-9a-f]{64}))(?:\.[A-Za-z0-9._-]+)?$`)
	numbers       = regexp.MustCompile(`^(v?)([0-9]+(?:\.[0-9]+){0,2})(?:-(.+))?$`)
	floatingWord  = regexp.MustCompile(`^(latest|edge|stable)(?:-(.+))?$`)
	dateName      = regexp.MustCompile(`^([0-9]{8}|[0-9]{12}|[0-9]{14}|[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)(?:([-T])([0-9]{4}|[0-9]{6})Z?)?(\.[0-9]+)?(?:-(.+))?$`)
	commitName    = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
	prefixedSHA   = regexp.MustCompile(`^sha-([0-9a-f]{7,40})(?:-(.+))?$`)
	pullRequest   = regexp.MustCompile(`^(?:pr|mr)-[0-9]+(?:-.+)?$`)
	branchName    = regexp.MustCompile(`^(?:(?:main|master|trunk|develop)(?:-.+)?|(?:feature|feat|fix|bugfix|hotfix|renovate|dependabot)-.+)$`)
	prerelease    = regexp.MustCompile(`^(?i:(alpha|beta|rc|preview|pre|dev|snapshot|next|canary|nightly)|(m)([0-9]))(?:[0-9._]|$)`)
	wordAndNumber = regexp.MustCompile(`^([a-z]+)[.-]?0*([0-9]+)(.*)$`)
)

// Parse says what tag's name means. It never fails: a name that fits nothing,
// or that no registry accepts, is of class Other.
func Parse(tag string) Tag {
	if CheckName(tag) == nil {
		for _, read := range [...]func(string) (Tag, bool){
			parseMachinery, parseTrash, parseNumbers, parseFloatingWord,
			parseDate, parseSHA, parsePullRequest, parseBranch,
		} {
			if t, ok := read(tag); ok {
				t.Text = tag
				return t
			}
		}
	}
	return Tag{Text: tag, Class: Other}
}

func parseMachinery(tag string) (Tag, bool) {
	m := machineryName.FindStringSubmatch(tag)
	if m == nil {
		return Tag{}, false
	}
	return Tag{Class: Machinery, Subject: strings.Replace(m[1], "-", ":", 1)}, true
}

func parseTrash(tag string) (Tag, bool) {
	return Tag{Class: Trash}, strings.HasPrefix(tag, TrashPrefix)
}

// parseNumbers reads one to three numbers with dots: Version, Calver and the
// Floating ones.
func parseNumbers(tag string) (Tag, bool) {
	m := numbers.FindStringSubmatch(tag)
	if m == nil {
		return Tag{}, false
	}
	t := Tag{Prefix: m[1], core: m[2], Parts: strings.Count(m[2], ".") + 1}
	parts := [3]string{}
	copy(parts[:], strings.Split(m[2], "."))
	for i, to := range []*uint64{&t.Major, &t.Minor, &t.Patch}[:t.Parts] {
		n, err := strconv.ParseUint(parts[i], 10, 64)
		if err != nil {
			return Tag{}, false // larger than any version
		}
		*to = n
	}
	switch {
	case t.Parts >= 2 && isYear(parts[0]):
		t.Class = Calver
		return t.suffix(m[3])
	case t.Parts == 3:
		if _, err := semver.StrictNewVersion(t.core); err != nil {
			return Tag{}, false // a leading zero
		}
		t.Class = Version
		return t.suffix(m[3])
	default:
		t.Class = Floating
		t.Variant = m[3]
		return t, isFloating(parts[:t.Parts], m[3])
	}
}

// isYear reports whether s is a year from 2000 to 2099.
func isYear(s string) bool { return len(s) == 4 && strings.HasPrefix(s, "20") }

// maxFloating is how many digits a floating number may have: from seven on it
// may as well be a commit, from eight on a date.
const maxFloating = 6

// isFloating reports whether one or two numbers are a name that moves: 1, 1.2,
// 1-alpine. Not 01, and not 2024-01, which is a month.
func isFloating(parts []string, variant string) bool {
	for _, p := range parts {
		if len(p) > maxFloating || len(p) > 1 && p[0] == '0' {
			return false
		}
	}
	if variant == "" {
		return true
	}
	startsWithDigit := variant[0] >= '0' && variant[0] <= '9'
	return noEmpty(strings.Split(variant, "-")) && (!isYear(parts[0]) || !startsWithDigit)
}

// suffix reads what follows the numbers of a version: a prerelease, then a
// variant, and before, between or after them a build suffix.
func (t Tag) suffix(text string) (Tag, bool) {
	if text == "" {
		return t, true
	}
	pieces := strings.Split(text, "-")
	if !noEmpty(pieces) {
		return Tag{}, false
	}
	contiguous := len(pieces) // how many pieces stand together before the build suffix
	for i := range len(pieces) - 1 {
		built, ok := parseStamp(pieces[i])
		if ok && commitName.MatchString(pieces[i+1]) {
			t.Built, t.built, t.Commit, t.buildAt = built, pieces[i], pieces[i+1], i
			pieces = append(pieces[:i:i], pieces[i+2:]...)
			contiguous = i
			break
		}
	}
	if contiguous == 0 {
		contiguous = len(pieces) // the build suffix stands first
	}
	n := prereleasePieces(pieces[:contiguous])
	t.Prerelease = strings.Join(pieces[:n], "-")
	t.Variant = strings.Join(pieces[n:], "-")
	if t.Prerelease != "" {
		if _, err := semver.StrictNewVersion("1.0.0-" + t.Prerelease); err != nil {
			return Tag{}, false
		}
	}
	return t, true
}

// prereleasePieces returns how many of pieces are a prerelease: two for rc-1,
// one for rc, rc1 and rc.1, none where the first begins with no known word.
func prereleasePieces(pieces []string) int {
	if len(pieces) == 0 || !prerelease.MatchString(pieces[0]) {
		return 0
	}
	bare := strings.IndexFunc(pieces[0], func(r rune) bool { return r >= '0' && r <= '9' || r == '.' }) < 0
	if bare && len(pieces) > 1 && allDigits(pieces[1]) {
		return 2
	}
	return 1
}

// parseStamp reads the date of a build suffix: a day, or a day with a time.
func parseStamp(s string) (time.Time, bool) {
	layout := day
	if len(s) == len(seconds) {
		layout = seconds
	}
	if len(s) != len(layout) || !allDigits(s) || !isYear(s[:4]) {
		return time.Time{}, false
	}
	t, err := time.Parse(layout, s)
	return t, err == nil
}

func parseFloatingWord(tag string) (Tag, bool) {
	m := floatingWord.FindStringSubmatch(tag)
	if m == nil {
		return Tag{}, false
	}
	return Tag{Class: Floating, core: m[1], Variant: m[2]}, m[2] == "" || noEmpty(strings.Split(m[2], "-"))
}

// parseDate reads a date without a version: 20240101, 20240101-7a3b5c9,
// 2024-01-15, 20240101.2, 20240101T101500, 2024-01.
func parseDate(tag string) (Tag, bool) {
	m := dateName.FindStringSubmatch(tag)
	if m == nil || !isYear(m[1][:4]) {
		return Tag{}, false
	}
	digits, clock, rest := strings.ReplaceAll(m[1], "-", ""), m[3], m[5]
	if clock != "" && len(digits) != len(day) {
		return Tag{}, false // a time behind a month, or behind a time
	}
	stamp, err := time.Parse(seconds[:len(digits)+len(clock)], digits+clock)
	if err != nil && m[2] == "-" { // a number, and no time of day
		stamp, err = time.Parse(seconds[:len(digits)], digits)
		rest = strings.TrimSuffix(clock+"-"+rest, "-")
	}
	if err != nil {
		return Tag{}, false
	}
	t := Tag{Class: Date, Built: stamp}
	if first, after, _ := strings.Cut(rest, "-"); commitName.MatchString(first) {
		t.Commit, t.Variant = first, after
	} else {
		t.Variant = rest
	}
	return t, true
}

// parseSHA reads a commit: any hex behind "sha-"; bare hex only with a digit in
// it, or "defaced" would be one.
func parseSHA(tag string) (Tag, bool) {
	if m := prefixedSHA.FindStringSubmatch(tag); m != nil {
		return Tag{Class: SHA, Commit: m[1], Variant: m[2]}, true
	}
	if !commitName.MatchString(tag) || !strings.ContainsAny(tag, "0123456789") {
		return Tag{}, false
	}
	return Tag{Class: SHA, Commit: tag, Ambiguous: allDigits(tag)}, true
}

func parsePullRequest(tag string) (Tag, bool) {
	return Tag{Class: PullRequest}, pullRequest.MatchString(tag)
}

func parseBranch(tag string) (Tag, bool) {
	return Tag{Class: Branch}, branchName.MatchString(tag)
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func noEmpty(pieces []string) bool {
	for _, p := range pieces {
		if p == "" {
			return false
		}
	}
	return true
}
