package prune

import (
	"cmp"
	"crypto/sha256"
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
	d := newDecision(s)
	d.policy, d.now = p, now
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
	owners   map[string]owner // of the machinery tags
}

// owner is the manifest that a machinery tag belongs to. Its digest is not
// known where the registry no longer has it.
type owner struct {
	name   string
	digest v1.Hash
	known  bool
}

func newDecision(s *Snapshot) *decision {
	d := &decision{Snapshot: s, verdicts: map[string]verdict{}, owners: map[string]owner{}}
	digests := map[string]v1.Hash{}
	for digest, node := range s.Nodes {
		if !node.Missing {
			digests[digest.String()] = digest
			// In a tag a longer digest is cut.
			digests[digest.Algorithm+":"+digest.Hex[:min(len(digest.Hex), sha256.Size*2)]] = digest
		}
	}
	for name := range s.Tags {
		if tag := version.Parse(name); tag.Class == version.Machinery {
			digest, known := digests[tag.Subject]
			d.owners[name] = owner{tag.Subject, digest, known}
		}
	}
	return d
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
	case !d.understood(digest):
		return stays("it is neither an image nor an index, or has a part that is not")
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

// understood tells whether digest and all below it are of kinds whose every
// reference to other manifests is known here.
func (d *decision) understood(digest v1.Hash) bool {
	for part := range d.below(digest) {
		if node := d.Nodes[part]; !node.Missing && !node.MediaType.IsImage() && !node.MediaType.IsIndex() {
			return false
		}
	}
	return true
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
		if _, machinery := d.owners[u.Tag]; !machinery {
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
