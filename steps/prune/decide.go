package prune

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/version"
)

// Policy says what may go. What no rule mentions stays.
type Policy struct {
	// KeepLast is how many releases, and how many prereleases, of each line of
	// versions stay, the newest by version order; 0 for no such rule.
	KeepLast int
	// OlderThan is the least age of what may go; 0 for no such rule. With
	// KeepLast both must hold.
	OlderThan time.Duration
	// Grace protects what is younger, whatever the rules say.
	Grace time.Duration
	// Classes of tags that may go.
	Classes []version.Class
	// Protect are glob patterns (path.Match) of tags that stay.
	Protect []string
}

// Plan is what is to be done, and why everything else stays.
type Plan struct {
	Version    int       `json:"version"`
	Repository string    `json:"repository"`
	At         time.Time `json:"at"`
	Untag      []Untag   `json:"untag"`
	Delete     []Delete  `json:"delete"`
	Kept       []Kept    `json:"kept"`
	Bytes      int64     `json:"bytes"` // freed at most; other repositories may share blobs
}

// Untag removes a tag that still points to Digest.
type Untag struct {
	Tag    string  `json:"tag"`
	Digest v1.Hash `json:"digest"`
	Why    string  `json:"why"`
}

// Delete removes a manifest that nothing kept reaches.
type Delete struct {
	Digest v1.Hash `json:"digest"`
	Why    string  `json:"why"`
}

// Kept is a tag that stays.
type Kept struct {
	Tag    string  `json:"tag"`
	Digest v1.Hash `json:"digest"`
	Why    string  `json:"why"`
}

const planVersion = 1

// Decide makes the plan of policy p for what s holds, at now. It does no I/O
// and never fails: whatever is unclear is kept, with the reason.
func Decide(s *Snapshot, p Policy, now time.Time) *Plan {
	d := &decision{Snapshot: s, policy: p, now: now, verdicts: map[string]verdict{}}
	d.pattern = d.reproducible()
	d.judgeTags()
	d.judgeMachinery()
	marked := d.mark()
	plan := &Plan{Version: planVersion, Repository: s.Repository, At: now}
	for _, tag := range slices.Sorted(maps.Keys(s.Tags)) {
		if v := d.verdicts[tag]; v.goes {
			plan.Untag = append(plan.Untag, Untag{tag, s.Tags[tag], v.why})
		} else {
			plan.Kept = append(plan.Kept, Kept{tag, s.Tags[tag], v.why})
		}
	}
	d.sweep(plan, marked)
	return plan
}

type verdict struct {
	goes bool
	why  string
}

func stays(format string, args ...any) verdict { return verdict{false, fmt.Sprintf(format, args...)} }

type decision struct {
	*Snapshot
	policy   Policy
	now      time.Time
	pattern  map[time.Time]bool // times that tell no age
	verdicts map[string]verdict
}

// judgeTags decides on every tag but machinery, which belongs to its subject.
func (d *decision) judgeTags() {
	place := d.places()
	for name, digest := range d.Tags {
		tag := version.Parse(name)
		if tag.Class != version.Machinery {
			d.verdicts[name] = d.judge(tag, digest, place[name])
		}
	}
}

// judge decides on one tag. place counts from 1 within its line, newest first.
func (d *decision) judge(tag version.Tag, digest v1.Hash, place int) verdict {
	ordered := place > 0
	switch {
	case d.protected(tag.Text):
		return stays("protected by a pattern")
	case tag.Ambiguous:
		return stays("all digits: a commit or a number")
	case !slices.Contains(d.policy.Classes, tag.Class):
		return stays("no rule is about tags of class %s", tag.Class)
	case ordered && d.policy.KeepLast > 0 && place <= d.policy.KeepLast:
		return stays("among the newest %d of its line", d.policy.KeepLast)
	case d.policy.OlderThan == 0 && (!ordered || d.policy.KeepLast == 0):
		return stays("no rule about age is given")
	}
	age, known := d.age(digest)
	if known && age < d.policy.Grace {
		return stays("younger than the grace period of %s", d.policy.Grace)
	}
	if d.policy.OlderThan > 0 {
		if !known {
			return stays("its age is unknown")
		}
		if age < d.policy.OlderThan {
			return stays("not older than %s", d.policy.OlderThan)
		}
	}
	if ordered && d.policy.KeepLast > 0 {
		return verdict{true, fmt.Sprintf("keep-last %d: it is number %d of its line", d.policy.KeepLast, place)}
	}
	return verdict{true, fmt.Sprintf("older-than %s", d.policy.OlderThan)}
}

func (d *decision) protected(tag string) bool {
	return slices.ContainsFunc(d.policy.Protect, func(pattern string) bool {
		ok, err := path.Match(pattern, tag)
		return ok || err != nil // a pattern nobody can read protects everything
	})
}

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
		slices.SortFunc(tags, func(a, b version.Tag) int { return version.Compare(b, a) })
		for i, tag := range tags {
			place[tag.Text] = i + 1
		}
	}
	return place
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

// judgeMachinery lets the tags of the referrers schema and of cosign share the
// fate of their subject. One whose subject nobody knows stays.
func (d *decision) judgeMachinery() {
	for name := range d.Tags {
		tag := version.Parse(name)
		if tag.Class != version.Machinery {
			continue
		}
		d.verdicts[name] = stays("belongs to %s", tag.Subject)
	}
	marked := d.mark() // machinery that stays reaches no further than its own artefacts
	for name := range d.Tags {
		tag := version.Parse(name)
		if tag.Class != version.Machinery {
			continue
		}
		subject, known := d.subject(tag)
		if known && !marked[subject] {
			d.verdicts[name] = verdict{true, "belongs to " + tag.Subject + ", which goes"}
		}
	}
}

// subject finds the manifest that a machinery tag belongs to; it is not known
// where the registry no longer has it. A longer digest is cut in such a name,
// so it is compared by its beginning.
func (d *decision) subject(tag version.Tag) (v1.Hash, bool) {
	for digest, node := range d.Nodes {
		if name := digest.String(); !node.Missing && len(name) >= len(tag.Subject) && name[:len(tag.Subject)] == tag.Subject {
			return digest, true
		}
	}
	return v1.Hash{}, false
}

// mark returns all that a kept tag still needs: itself; below it, through
// indexes, its children; what refers to any of these, and what those refer to.
//
// A machinery tag keeps what it points to, but is no reason to keep its
// subject: else nothing signed could ever go.
func (d *decision) mark() map[v1.Hash]bool {
	marked := map[v1.Hash]bool{}
	var roots []v1.Hash
	for name, digest := range d.Tags {
		if tag := version.Parse(name); !d.verdicts[name].goes && tag.Class != version.Machinery {
			roots = append(roots, digest)
		}
	}
	d.reach(roots, marked)
	// Machinery whose subject is marked, or unknown, keeps its artefacts, which
	// may be the subjects of further machinery: until nothing changes.
	for before := -1; before != len(marked); {
		before = len(marked)
		for name, digest := range d.Tags {
			tag := version.Parse(name)
			if tag.Class != version.Machinery || d.verdicts[name].goes {
				continue
			}
			if subject, known := d.subject(tag); !known || marked[subject] {
				d.reach([]v1.Hash{digest}, marked)
			}
		}
	}
	return marked
}

// reach marks roots and everything they need.
func (d *decision) reach(roots []v1.Hash, marked map[v1.Hash]bool) {
	for len(roots) > 0 {
		digest := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if marked[digest] {
			continue
		}
		marked[digest] = true
		node := d.Nodes[digest]
		if node == nil {
			continue
		}
		roots = append(append(roots, node.Children...), node.Referrers...)
		if node.Subject != nil {
			roots = append(roots, *node.Subject)
		}
	}
}

// below returns digest and, through indexes, its children.
func (d *decision) below(digest v1.Hash) map[v1.Hash]bool {
	seen := map[v1.Hash]bool{}
	todo := []v1.Hash{digest}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		node := d.Nodes[next]
		if node == nil || seen[next] {
			continue
		}
		seen[next] = true
		todo = append(todo, node.Children...)
	}
	return seen
}

// sweep adds to plan the manifests that go: reachable from a tag that goes, and
// not marked. Indexes come before their children: an interrupted run leaves
// garbage, never an index with a hole.
func (d *decision) sweep(plan *Plan, marked map[v1.Hash]bool) {
	swept := map[v1.Hash]bool{}
	var visit func(digest v1.Hash, why string)
	visit = func(digest v1.Hash, why string) {
		node := d.Nodes[digest]
		if swept[digest] || marked[digest] || node == nil || node.Missing {
			return
		}
		swept[digest] = true
		plan.Delete = append(plan.Delete, Delete{digest, why})
		for _, child := range node.Children {
			visit(child, "child of "+digest.String())
		}
		for _, referrer := range node.Referrers {
			visit(referrer, "refers to "+digest.String())
		}
	}
	for _, u := range plan.Untag {
		if version.Parse(u.Tag).Class != version.Machinery {
			visit(u.Digest, u.Why)
		}
	}
	for _, u := range plan.Untag { // machinery last: after its subjects
		visit(u.Digest, u.Why)
	}
	d.outermostFirst(plan.Delete)
	plan.Bytes = d.freed(swept)
}

// outermostFirst sorts deletes so that no manifest comes before one that names
// it as a child.
func (d *decision) outermostFirst(deletes []Delete) {
	depth := map[v1.Hash]int{}
	for _, del := range deletes {
		for child := range d.below(del.Digest) {
			if child != del.Digest {
				depth[child]++
			}
		}
	}
	slices.SortStableFunc(deletes, func(a, b Delete) int { return cmp.Compare(depth[a.Digest], depth[b.Digest]) })
}

// freed is the size of what only swept manifests use.
func (d *decision) freed(swept map[v1.Hash]bool) int64 {
	needed := map[v1.Hash]bool{}
	for digest, node := range d.Nodes {
		if !swept[digest] {
			for blob := range node.Blobs {
				needed[blob] = true
			}
		}
	}
	var total int64
	for digest := range swept {
		node := d.Nodes[digest]
		total += node.Size
		for blob, size := range node.Blobs {
			if !needed[blob] {
				needed[blob] = true // once
				total += size
			}
		}
	}
	return total
}
