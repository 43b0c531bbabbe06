package version_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/imagewright/imagewright/internal/version"
)

func TestOrder(t *testing.T) {
	for _, tc := range []struct{ name, want string }{
		{"numbers are numbers", "1.2.3 1.2.9 1.2.10 1.10.0 2.0.0 10.0.0"},
		{"a prerelease comes before its release", "1.2.2 1.2.3-alpha 1.2.3-beta.2 1.2.3-beta.11 1.2.3-rc.1 1.2.3"},
		{"rc10 comes after rc2", "1.2.3-rc1 1.2.3-rc2 1.2.3-rc10 1.2.3"},
		{"case and spelling of a prerelease do not decide", "1.0.0-RC1 1.0.0-rc-2 1.0.0-rc.3 1.0.0-RC4"},
		{"milestones", "1.0.0-M1 1.0.0-M2 1.0.0-M10 1.0.0"},
		{"builds of one version go by date", "v1.2.3 v1.2.3-20231125-fffffff v1.2.3-20231125100000-7a3b5c9 v1.2.3-20231126-0000000 v1.2.4-20200101-7a3b5c9"},
		{"a build suffix is no prerelease", "v1.2.3-rc.1-20231125-7a3b5c9 v1.2.3-20231125-7a3b5c9"},
		{"years have their own order", "2024.1 2024.01.15 2024.2.1 2024.10.1 2025.1.1"},
		{"dates go by time", "20231231 2024-01-01 20240101-101530 20240102"},
		{"classes stand apart", "2.0.0 latest 2024.1.15 20240101 1234567 pr-7 main zzz"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tags := parseAll(strings.Fields(tc.want))
			rand.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
			slices.SortFunc(tags, version.Compare)
			var got []string
			for _, tag := range tags {
				got = append(got, tag.Text)
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("order, oldest first (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrecedenceKnowsNoLine(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"1.2.3", "v1.2.3-alpine", 0},
		{"1.2.3-rc1", "1.2.3-RC.1", 0},
		{"1.2.3-20231125-7a3b5c9", "1.2.3-20231125-abc1234", 0},
		{"1.2.3-20231125-7a3b5c9", "1.2.3", 1},
		{"1.2.3-rc1", "1.2.3", -1},
	} {
		if got := version.Precedence(version.Parse(tc.a), version.Parse(tc.b)); got != tc.want {
			t.Errorf("Precedence(%s, %s) = %d; want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestLines(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"1.2.3", "2.0.0-rc1", true},
		{"v1.2.3", "v1.2.4-20231125-7a3b5c9", true},
		{"1.2.3-alpine", "1.3.0-20231125-7a3b5c9-alpine", true},
		{"1.2.3", "v1.2.3", false},
		{"1.2.3", "1.2.3-alpine", false},
		{"1.2.3-alpine3.19", "1.2.3-alpine3.20", false},
		{"2.0.0", "2024.1.15", false},
		{"2024.1.15", "2025.1", true},
	} {
		if got := version.Parse(tc.a).LineKey() == version.Parse(tc.b).LineKey(); got != tc.same {
			t.Errorf("%s and %s on one line: %t; want %t", tc.a, tc.b, got, tc.same)
		}
	}
}

func parseAll(names []string) []version.Tag {
	tags := make([]version.Tag, len(names))
	for i, name := range names {
		tags[i] = version.Parse(name)
	}
	return tags
}

// tagNames draws names from the pieces that tags are made of, so that near
// misses of every class are common, and some from all of Unicode.
func tagNames() *rapid.Generator[string] {
	piece := rapid.SampledFrom(strings.Fields(`v 0 1 01 2 10 1.2 1.2.3 1.2.4 2024 2024.1 2024.01.15 20240101 20231125 20231399 20231125103000
		1234567 7a3b5c9 abc1234 defaced latest edge stable rc rc1 rc.1 rc2 rc10 RC1 rc01 alpha beta.2 dev M1 nightly alpine alpine3.19 slim
		pr mr 7 main feature sha sha256 imagewright trash x . _ .. 18446744073709551615 99999999999999999999`))
	separator := rapid.SampledFrom([]string{"-", "-", "-", ".", "", "_"})
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			for range rapid.IntRange(1, 6).Draw(t, "pieces") {
				b.WriteString(piece.Draw(t, "piece"))
				b.WriteString(separator.Draw(t, "separator"))
			}
			return strings.TrimSuffix(b.String(), "-")
		}),
		rapid.StringMatching(`v?[0-2]\.[0-2]\.[0-2](-(rc|beta)[.-]?[0-2]{0,2})?(-2023112[0-9]-[0-9a-f]{7})?(-(alpine|slim))?`),
		rapid.String(),
	)
}

func TestOrderIsTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := version.Parse(tagNames().Draw(t, "a")), version.Parse(tagNames().Draw(t, "b")), version.Parse(tagNames().Draw(t, "c"))
		if ab, ba := version.Compare(a, b), version.Compare(b, a); ab != -ba {
			t.Fatalf("Compare(%q, %q) = %d, the other way round %d", a, b, ab, ba)
		}
		if (version.Compare(a, b) == 0) != (a.Text == b.Text) {
			t.Fatalf("Compare(%q, %q) = %d: 0 is for equal names only", a, b, version.Compare(a, b))
		}
		sorted := []version.Tag{a, b, c}
		slices.SortFunc(sorted, version.Compare)
		if version.Compare(sorted[0], sorted[1]) > 0 || version.Compare(sorted[1], sorted[2]) > 0 || version.Compare(sorted[0], sorted[2]) > 0 {
			t.Fatalf("Compare is not transitive over %q", sorted)
		}
	})
}

func TestParseThenFormatIsTheIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := tagNames().Draw(t, "name")
		tag := version.Parse(name)
		if tag.String() != name {
			t.Fatalf("Parse(%q).String() = %q", name, tag)
		}
		if again := version.Parse(tag.String()); again != tag {
			t.Fatalf("Parse(%q) = %+v, and parsed again %+v", name, tag, again)
		}
	})
}

// The order of parsing, the tags beside it and how often it was asked: none of
// it may change what a name means.
func TestClassDependsOnTheNameAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(tagNames(), 1, 8).Draw(t, "names")
		before := parseAll(names)
		slices.Reverse(names)
		after := parseAll(names)
		slices.Reverse(after)
		if diff := cmp.Diff(before, after, cmp.Comparer(func(a, b version.Tag) bool { return a == b })); diff != "" {
			t.Fatalf("the same names parsed in another order (-first +second):\n%s", diff)
		}
	})
}

// What a version is made of comes back from its name, whatever the parts.
func TestVersionPartsSurviveTheirName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		core := rapid.StringMatching(`(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})`).Draw(t, "core")
		want := version.Tag{
			Prefix:     rapid.SampledFrom([]string{"", "v"}).Draw(t, "prefix"),
			Prerelease: rapid.SampledFrom([]string{"", "rc1", "rc.2", "beta-3", "SNAPSHOT", "M4"}).Draw(t, "prerelease"),
			Commit:     rapid.StringMatching(`([0-9a-f]{7,40})?`).Draw(t, "commit"),
			Variant:    rapid.SampledFrom([]string{"", "alpine", "alpine3.19", "slim-bookworm"}).Draw(t, "variant"),
		}
		build := ""
		if want.Commit != "" {
			build = rapid.SampledFrom([]string{"20231125", "20240229103000"}).Draw(t, "date") + "-" + want.Commit
		}
		name := want.Prefix + core
		for _, s := range []string{want.Prerelease, build, want.Variant} {
			if s != "" {
				name += "-" + s
			}
		}
		got := version.Parse(name)
		if len(name) > 128 || got.Class != version.Version {
			t.Fatalf("Parse(%q): class %s; want version", name, got.Class)
		}
		if got.Prefix != want.Prefix || got.Prerelease != want.Prerelease || got.Commit != want.Commit || got.Variant != want.Variant || got.HasBuild() != (build != "") {
			t.Fatalf("Parse(%q) = %s; want the parts of %+v", name, describe(got), want)
		}
	})
}

func FuzzParse(f *testing.F) {
	for line := range strings.Lines(grammar) {
		tag, _, _ := strings.Cut(line, " ")
		f.Add(tag, "1.2.3")
	}
	f.Fuzz(func(t *testing.T, name, other string) {
		a, b := version.Parse(name), version.Parse(other)
		if a.String() != name {
			t.Errorf("Parse(%q).String() = %q", name, a)
		}
		if a.Class != version.Other && version.CheckName(name) != nil {
			t.Errorf("Parse(%q) is %s, but no registry accepts the name", name, a.Class)
		}
		if version.Compare(a, b) != -version.Compare(b, a) || version.Compare(a, a) != 0 {
			t.Errorf("Compare(%q, %q) is not antisymmetric", name, other)
		}
		for _, float := range a.Floats() {
			if class := version.Parse(float).Class; len(float) <= 128 && class != version.Floating && a.Major < 1e6 && a.Minor < 1e6 {
				t.Errorf("%q is behind %q, which is of class %s and not floating", name, float, class)
			}
		}
	})
}
