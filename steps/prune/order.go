package prune

import (
	"cmp"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/version"
)

// places numbers the versions of each line from the newest. Releases and
// prereleases are counted apart: three candidates must not push out the last
// release.
func (d *decision) places() map[string]int {
	type line struct {
		version.LineKey
		prerelease bool
	}
	lines := map[line][]version.Tag{}
	for name := range d.Tags {
		tag := version.Parse(name)
		if tag.Class == version.Version || tag.Class == version.Calver {
			key := line{tag.LineKey(), tag.IsPrerelease()}
			lines[key] = append(lines[key], tag)
		}
	}
	place := map[string]int{}
	for _, tags := range lines {
		slices.SortFunc(tags, func(a, b version.Tag) int { return d.compareVersions(b, a) })
		for i, tag := range tags {
			place[tag.Text] = i + 1
		}
	}
	return place
}

// compareVersions orders the tags of a line. Builds of one version on one day
// differ by their commit alone, and that is no order: the one made later is the
// newer, and one that tells no time counts as the newest, so that it stays.
func (d *decision) compareVersions(a, b version.Tag) int {
	return cmp.Or(version.Precedence(a, b), d.made(a).Compare(d.made(b)), version.Compare(a, b))
}

// made is the newest time that the image behind a tag tells, or now.
func (d *decision) made(tag version.Tag) time.Time {
	newest := time.Time{}
	for part := range d.below(d.Tags[tag.Text]) {
		if at := d.Nodes[part].Created; at.After(newest) {
			newest = at
		}
	}
	if newest.IsZero() {
		return d.now
	}
	return newest
}

// Times before firstImage are no image's: containers did not exist.
var firstImage = time.Date(2013, 3, 20, 0, 0, 0, 0, time.UTC)

const (
	clockSkew      = 24 * time.Hour // further in the future a time is a lie
	samePatternMin = 3              // so many digests of one time were made reproducibly
)

// age is how long ago the newest part of digest was made, as far as it tells.
// A reproducible date (1970, 1980, one date for many images) tells nothing.
func (d *decision) age(digest v1.Hash) (age time.Duration, known bool) {
	newest := time.Time{}
	for part := range d.below(digest) {
		at := d.Nodes[part].Created
		if at.Before(firstImage) || at.After(d.now.Add(clockSkew)) || d.pattern[at] {
			continue
		}
		if at.After(newest) {
			newest = at
		}
	}
	return d.now.Sub(newest), !newest.IsZero()
}

// reproducible returns the times that several different images have to the
// nanosecond: a fixed date, not the moment they were made. The manifests of one
// index count once.
func (d *decision) reproducible() map[time.Time]bool {
	roots := map[time.Time]map[v1.Hash]bool{}
	for _, root := range d.Tags {
		for part := range d.below(root) {
			at := d.Nodes[part].Created
			if roots[at] == nil {
				roots[at] = map[v1.Hash]bool{}
			}
			roots[at][root] = true
		}
	}
	pattern := map[time.Time]bool{}
	for at, digests := range roots {
		pattern[at] = len(digests) >= samePatternMin
	}
	return pattern
}
