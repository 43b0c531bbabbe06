package version

import (
	"cmp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Compare is a total order over all tags: 0 only for equal names. Classes come
// in the order of their declaration; within Version and Calver the precedence
// of [Precedence] decides, then line, then name; dates go by time, the rest by
// name. To find the newest of something, compare within one [LineKey] only.
func Compare(a, b Tag) int {
	if c := cmp.Compare(a.Class.rank(), b.Class.rank()); c != 0 {
		return c
	}
	return cmp.Or(
		Precedence(a, b),
		cmp.Compare(a.Parts, b.Parts),
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(a.Prefix, b.Prefix),
		strings.Compare(a.Text, b.Text),
	)
}

// Precedence compares numbers, prerelease and date, and nothing else: 0 for
// 1.2.3 and v1.2.3-alpine. Rules are those of https://semver.org, 11, with two
// additions: a number behind a known word counts as a number (rc10 comes after
// rc2), letters' case does not count; and of one version's builds the later
// date is the newer, one without a date the oldest.
func Precedence(a, b Tag) int {
	return cmp.Or(
		cmp.Compare(a.Major, b.Major),
		cmp.Compare(a.Minor, b.Minor),
		cmp.Compare(a.Patch, b.Patch),
		comparePrerelease(a.Prerelease, b.Prerelease),
		a.Built.Compare(b.Built),
	)
}

func comparePrerelease(a, b string) int {
	if a == b {
		return 0
	}
	x := semver.New(0, 0, 0, orderKey(a), "")
	y := semver.New(0, 0, 0, orderKey(b), "")
	return x.Compare(y)
}

// orderKey is the prerelease that pre is ordered by: RC-02 as rc.2.
func orderKey(pre string) string {
	pre = strings.ToLower(pre)
	m := wordAndNumber.FindStringSubmatch(pre)
	if m == nil {
		return pre
	}
	return m[1] + "." + m[2] + m[3]
}
