package prune

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"pgregory.net/rapid"

	"github.com/imagewright/imagewright/internal/version"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// daysAgo is a moment of its own for each n: equal ones would look reproducible.
func daysAgo(n int) time.Time {
	return now.Add(-time.Duration(n)*24*time.Hour - time.Duration(n)*time.Second)
}

// hash makes the digest that a name stands for in these tests.
func hash(name string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", name)[:64]}
}

// repo builds a snapshot: tags as "v1.0.0=a", manifests as node entries.
func repo(tags string, nodes map[string]*Node) *Snapshot {
	s := &Snapshot{Repository: "r", Tags: map[string]v1.Hash{}, Nodes: map[v1.Hash]*Node{}}
	for _, pair := range strings.Fields(tags) {
		tag, name, _ := strings.Cut(pair, "=")
		s.Tags[tag] = hash(name)
		s.Nodes[hash(name)] = image(0)
	}
	for name, node := range nodes {
		s.Nodes[hash(name)] = node
	}
	return s
}

// image is a manifest made n days ago; 0 for no time.
func image(n int) *Node {
	node := &Node{MediaType: types.OCIManifestSchema1}
	if n != 0 {
		node.Created = daysAgo(n)
	}
	return node
}

func index(children ...string) *Node {
	node := &Node{MediaType: types.OCIImageIndex}
	for _, c := range children {
		node.Children = append(node.Children, hash(c))
	}
	return node
}

func about(subject string) *Node {
	h := hash(subject)
	return &Node{MediaType: types.OCIManifestSchema1, Subject: &h}
}

// going returns the tags and the manifests of p that go, the latter by name.
func going(p *Plan, s *Snapshot, names ...string) (tags, manifests []string) {
	for _, u := range p.Untag {
		tags = append(tags, u.Tag)
	}
	for _, d := range p.Delete {
		for _, name := range names {
			if hash(name) == d.Digest {
				manifests = append(manifests, name)
			}
		}
	}
	slices.Sort(manifests)
	return tags, manifests
}

func TestKeepLastCountsVersionsByTheirOrder(t *testing.T) {
	for _, tc := range []struct {
		name, tags string
		keep       int
		want       []string
	}{
		{"by number, not by name", "v1.10.0=a v1.9.0=b v1.2.0=c", 1, []string{"v1.2.0", "v1.9.0"}},
		{"a tag that is no version never goes", "v1.0.0=a nightly=b 20240101=c 1234567=d abc1234=e latest=f 1=g", 1, nil},
		{"candidates do not push out releases", "v1.0.0=a v2.0.0-rc.1=b v2.0.0-rc.2=c", 1, []string{"v2.0.0-rc.1"}},
		{"the suite's own names are releases", "v1.2.3-20231125-7a3b5c9=a v1.2.3-20231126-7a3b5c0=b", 1, []string{"v1.2.3-20231125-7a3b5c9"}},
		{"variants are lines of their own", "1.0.0=a 1.1.0=b 1.0.0-alpine=c", 1, []string{"1.0.0"}},
		{"no more than are there", "v1.0.0=a", 5, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := repo(tc.tags, nil)
			p := Decide(s, Policy{KeepLast: tc.keep, Classes: []version.Class{version.Version}}, now)
			tags, _ := going(p, s)
			if diff := cmp.Diff(tc.want, tags); diff != "" {
				t.Errorf("tags going (-want +got):\n%s", diff)
			}
			if len(p.Kept)+len(p.Untag) != len(s.Tags) {
				t.Errorf("%d tags kept and %d going of %d", len(p.Kept), len(p.Untag), len(s.Tags))
			}
		})
	}
}

func TestOfTwoBuildsOfOneVersionOnOneDayTheLaterIsTheNewer(t *testing.T) {
	tags := "v1.2.3-20260501-fffffff=morning v1.2.3-20260501-0000000=evening v1.2.3-20260501-aaaaaaa=noon"
	at := func(hour int) *Node {
		return &Node{MediaType: types.OCIManifestSchema1, Created: time.Date(2026, 5, 1, hour, 0, 0, 0, time.UTC)}
	}
	s := repo(tags, map[string]*Node{"morning": at(8), "noon": at(12), "evening": at(20)})
	p := Decide(s, Policy{KeepLast: 1, Classes: []version.Class{version.Version}}, now)
	if len(p.Kept) != 1 || p.Kept[0].Digest != hash("evening") {
		t.Errorf("kept are %+v, want the evening's build alone", p.Kept)
	}
}

func TestAgeRules(t *testing.T) {
	versions := []version.Class{version.Version}
	all := append(versions, version.SHA, version.PullRequest, version.Branch, version.Date)
	nodes := map[string]*Node{"old": image(40), "mid": image(10), "new": image(1),
		"hour": {MediaType: types.OCIManifestSchema1, Created: now.Add(-time.Hour)},
		"liar": {MediaType: types.OCIImageIndex, Created: now.Add(48 * time.Hour), Children: []v1.Hash{hash("old")}}}
	for _, tc := range []struct {
		name, tags string
		policy     Policy
		want       []string
	}{
		{"older than", "v1.0.0=old v1.1.0=mid", Policy{OlderThan: 30 * 24 * time.Hour, Classes: versions}, []string{"v1.0.0"}},
		{"both must hold", "v1.0.0=old v1.1.0=mid v1.2.0=new", Policy{KeepLast: 1, OlderThan: 30 * 24 * time.Hour, Classes: versions}, []string{"v1.0.0"}},
		{"unknown age stays", "v1.0.0=none v1.1.0=mid", Policy{OlderThan: time.Hour, Classes: versions}, []string{"v1.1.0"}},
		{"grace protects against the count", "v1.0.0=hour v1.1.0=mid", Policy{KeepLast: 1, Grace: 24 * time.Hour, Classes: versions}, nil},
		{"a time in the future is none", "v1.0.0=liar v1.1.0=mid", Policy{OlderThan: 30 * 24 * time.Hour, Classes: versions}, []string{"v1.0.0"}},
		{"classes that were not named stay", "sha-7a3b5c9=old pr-7=old", Policy{OlderThan: time.Hour, Classes: versions}, nil},
		{"classes that were", "sha-7a3b5c9=old pr-7=mid main=new", Policy{OlderThan: 5 * 24 * time.Hour, Classes: all}, []string{"pr-7", "sha-7a3b5c9"}},
		{"a count says nothing of other classes", "pr-7=old v1.0.0=old", Policy{KeepLast: 1, Classes: all}, nil},
		{"an ambiguous number stays", "1234567=old", Policy{OlderThan: time.Hour, Classes: all}, nil},
		{"protected", "v1.0.0=old v2.0.0=mid", Policy{OlderThan: time.Hour, Classes: versions, Protect: []string{"v1.*"}}, []string{"v2.0.0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := repo(tc.tags, nodes)
			tags, _ := going(Decide(s, tc.policy, now), s)
			if diff := cmp.Diff(tc.want, tags); diff != "" {
				t.Errorf("tags going (-want +got):\n%s", diff)
			}
		})
	}
}

// A manifest of a kind nobody here knows may need others that nobody here sees.
func TestWhatIsNoImageAndNoIndexStays(t *testing.T) {
	s := repo("v1.0.0=strange v1.1.0=part v1.2.0=plain v2.0.0=new", map[string]*Node{
		"strange": {MediaType: "application/vnd.example.v9+json"},
		"part":    index("strange"),
	})
	tags, _ := going(Decide(s, Policy{KeepLast: 1, Classes: []version.Class{version.Version}}, now), s)
	if diff := cmp.Diff([]string{"v1.2.0"}, tags); diff != "" {
		t.Errorf("tags going (-want +got):\n%s", diff)
	}
}

func TestAReproducibleDateIsNoAge(t *testing.T) {
	for name, at := range map[string]time.Time{
		"1970": time.Unix(0, 0), "1980": time.Date(1980, 1, 1, 0, 0, 1, 0, time.UTC),
		"one date for three images": daysAgo(300), "the future": now.Add(48 * time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			nodes := map[string]*Node{}
			for _, n := range []string{"a", "b", "c"} {
				nodes[n] = &Node{MediaType: types.OCIManifestSchema1, Created: at.UTC()}
			}
			s := repo("v1.0.0=a v1.1.0=b v1.2.0=c", nodes)
			p := Decide(s, Policy{OlderThan: time.Hour, Classes: []version.Class{version.Version}}, now)
			if len(p.Untag) != 0 {
				t.Errorf("%d tags go by a date that says nothing", len(p.Untag))
			}
		})
	}
}

func TestWhatIsStillReachedStays(t *testing.T) {
	sig := func(subject string) string { return "sha256-" + hash(subject).Hex + ".sig" }
	fallback := func(subject string) string { return "sha256-" + hash(subject).Hex }
	with := func(n *Node, referrers ...string) *Node {
		for _, r := range referrers {
			n.Referrers = append(n.Referrers, hash(r))
		}
		return n
	}
	for _, tc := range []struct {
		name, tags string
		nodes      map[string]*Node
		tagsGo     []string
		deleted    []string
	}{
		{"children of a kept index", "v2.0.0=new v1.0.0=amd", map[string]*Node{"new": index("amd", "arm"), "amd": image(0), "arm": image(0)},
			[]string{"v1.0.0"}, nil},
		{"children at any depth", "v2.0.0=top v1.0.0=leaf", map[string]*Node{"top": index("mid"), "mid": index("leaf"), "leaf": image(0)},
			[]string{"v1.0.0"}, nil},
		{"a child with a tag of its own", "v1.0.0=old v2.0.0=new v1-amd64=amd", map[string]*Node{"old": index("amd", "arm"), "amd": image(0), "arm": image(0), "new": image(0)},
			[]string{"v1.0.0"}, []string{"arm", "old"}},
		{"another tag of the same digest", "v1.0.0=a v2.0.0=b stable=a", nil, []string{"v1.0.0"}, nil},
		{"a shared child", "v1.0.0=old v2.0.0=new", map[string]*Node{"old": index("both", "own"), "new": index("both"), "both": image(0), "own": image(0)},
			[]string{"v1.0.0"}, []string{"old", "own"}},
		{"the signature of a kept image", "v2.0.0=new " + sig("new") + "=s", nil, nil, nil},
		{"the signature goes with its image", "v1.0.0=old v2.0.0=new " + sig("old") + "=s", nil, []string{sig("old"), "v1.0.0"}, []string{"old", "s"}},
		{"the signature of a kept index's child", "v2.0.0=new v1.0.0=x " + sig("amd") + "=s", map[string]*Node{"new": index("amd"), "amd": image(0)}, []string{"v1.0.0"}, []string{"x"}},
		{"referrers of referrers", "v2.0.0=new v1.0.0=sbom " + fallback("new") + "=f " + fallback("sbom") + "=g",
			map[string]*Node{"f": index("sbom"), "sbom": about("new"), "g": index("sigsbom"), "sigsbom": about("sbom")}, []string{"v1.0.0"}, nil},
		{"referrers by API", "v2.0.0=new v1.0.0=sbom", map[string]*Node{"new": with(image(0), "sbom"), "sbom": about("new")}, []string{"v1.0.0"}, nil},
		{"referrers by API go too", "v2.0.0=new v1.0.0=old", map[string]*Node{"old": with(image(0), "sbom"), "sbom": about("old")}, []string{"v1.0.0"}, []string{"old", "sbom"}},
		{"the subject of a kept artefact", "v1.0.0=old v2.0.0=new report=r", map[string]*Node{"r": about("old")}, []string{"v1.0.0"}, nil},
		{"an orphaned signature is no rule's business", "v2.0.0=new " + sig("gone") + "=s", map[string]*Node{"gone": {Missing: true}, "s": about("gone")}, nil, nil},
		{"a child that is lost is not deleted again", "v1.0.0=old v2.0.0=new", map[string]*Node{"old": index("lost"), "lost": {Missing: true}}, []string{"v1.0.0"}, []string{"old"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := repo(tc.tags, nil)
			for name, node := range tc.nodes {
				s.Nodes[hash(name)] = node
			}
			p := Decide(s, Policy{KeepLast: 1, Classes: []version.Class{version.Version}}, now)
			tags, deleted := going(p, s, "old", "new", "amd", "arm", "own", "both", "mid", "leaf", "top", "a", "b", "s", "x", "f", "g", "sbom", "sigsbom", "r", "lost")
			if diff := cmp.Diff(tc.tagsGo, tags); diff != "" {
				t.Errorf("tags going (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.deleted, deleted); diff != "" {
				t.Errorf("manifests going (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIndexesGoBeforeTheirChildren(t *testing.T) {
	s := repo("v1.0.0=leaf v1.1.0=mid v1.2.0=top v2.0.0=new", map[string]*Node{"leaf": image(0), "mid": index("leaf"), "top": index("mid", "leaf")})
	p := Decide(s, Policy{KeepLast: 1, Classes: []version.Class{version.Version}}, now)
	var order []v1.Hash
	for _, d := range p.Delete {
		order = append(order, d.Digest)
	}
	if diff := cmp.Diff([]v1.Hash{hash("top"), hash("mid"), hash("leaf")}, order); diff != "" {
		t.Errorf("order of deletes (-want +got):\n%s", diff)
	}
}

func TestFreedBytesAreThoseNobodyElseUses(t *testing.T) {
	blobs := func(pairs ...any) *Node {
		n := &Node{MediaType: types.OCIManifestSchema1, Size: 1, Blobs: map[v1.Hash]int64{}}
		for i := 0; i < len(pairs); i += 2 {
			n.Blobs[hash(pairs[i].(string))] = int64(pairs[i+1].(int))
		}
		return n
	}
	s := repo("v1.0.0=a v1.1.0=b v2.0.0=c", map[string]*Node{"a": blobs("base", 100, "one", 10), "b": blobs("base", 100, "one", 10, "two", 20), "c": blobs("base", 100)})
	p := Decide(s, Policy{KeepLast: 1, Classes: []version.Class{version.Version}}, now)
	if want := int64(1 + 1 + 10 + 20); p.Bytes != want {
		t.Errorf("%d bytes freed, want %d", p.Bytes, want)
	}
}

// Whatever the repository and the rules: what a kept tag reaches by children,
// subjects and referrers, worked out here in another way, is never deleted.
func TestNothingReachableIsEverDeleted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomRepository(t)
		policy := Policy{
			KeepLast:  rapid.IntRange(0, 3).Draw(t, "keep"),
			OlderThan: time.Duration(rapid.IntRange(0, 30).Draw(t, "days")) * 24 * time.Hour,
			Classes:   []version.Class{version.Version, version.SHA, version.PullRequest},
		}
		p := Decide(s, policy, now)
		needed := map[v1.Hash]bool{}
		for _, k := range p.Kept {
			if version.Parse(k.Tag).Class != version.Machinery {
				needed[k.Digest] = true
			}
		}
		for grown := true; grown; { // to the fixed point, edge by edge
			grown = false
			add := func(h v1.Hash) { grown = grown || !needed[h]; needed[h] = true }
			for digest, node := range s.Nodes {
				if node.Subject != nil && needed[*node.Subject] && referrerListed(s, digest, *node.Subject) {
					add(digest)
				}
				if !needed[digest] {
					continue
				}
				for _, c := range node.Children {
					add(c)
				}
				if node.Subject != nil {
					add(*node.Subject)
				}
			}
		}
		for _, d := range p.Delete {
			if needed[d.Digest] {
				t.Fatalf("%s is deleted (%s) and still needed", d.Digest, d.Why)
			}
		}
		for _, k := range p.Kept {
			for _, d := range p.Delete {
				if d.Digest == k.Digest {
					t.Fatalf("tag %s is kept (%s), but its manifest goes (%s)", k.Tag, k.Why, d.Why)
				}
			}
		}
	})
}

// referrerListed tells whether the registry shows digest as a referrer of
// subject: by its API, or by a fallback tag.
func referrerListed(s *Snapshot, digest, subject v1.Hash) bool {
	if slices.Contains(s.Nodes[subject].Referrers, digest) {
		return true
	}
	tagged, ok := s.Tags["sha256-"+subject.Hex]
	return ok && slices.Contains(s.Nodes[tagged].Children, digest)
}

func randomRepository(t *rapid.T) *Snapshot {
	n := rapid.IntRange(1, 12).Draw(t, "manifests")
	name := func(i int) string { return fmt.Sprint("m", i) }
	s := &Snapshot{Repository: "r", Tags: map[string]v1.Hash{}, Nodes: map[v1.Hash]*Node{}}
	for i := range n {
		node := image(rapid.IntRange(0, 40).Draw(t, "age"))
		if i > 0 {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				for range rapid.IntRange(1, 3).Draw(t, "children") {
					node.Children = append(node.Children, hash(name(rapid.IntRange(0, i-1).Draw(t, "child"))))
				}
			case 1:
				subject := hash(name(rapid.IntRange(0, i-1).Draw(t, "subject")))
				node.Subject = &subject
				if rapid.Bool().Draw(t, "by API") {
					s.Nodes[subject].Referrers = append(s.Nodes[subject].Referrers, hash(name(i)))
				} else if tag := "sha256-" + subject.Hex; s.Tags[tag] == (v1.Hash{}) {
					s.Tags[tag] = hash("fallback" + name(i))
					s.Nodes[s.Tags[tag]] = index(name(i))
				}
			}
		}
		s.Nodes[hash(name(i))] = node
	}
	for i := range rapid.IntRange(1, 10).Draw(t, "tags") {
		tag := rapid.SampledFrom([]string{"v1.%d.0", "v2.0.%d", "v3.0.0-rc.%d", "pr-%d", "sha-%07d", "latest%d", "1.%d"}).Draw(t, "tag")
		s.Tags[fmt.Sprintf(tag, i)] = hash(name(rapid.IntRange(0, n-1).Draw(t, "points to")))
	}
	return s
}
