package build

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/ci"
	gitcheckout "github.com/imagewright/imagewright/test/checkout"
)

func TestLabelsNameOnlyWhatIsKnown(t *testing.T) {
	date := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, tc := range []struct {
		name string
		in   facts
		want map[string]string
	}{
		{"a tagged commit", facts{Repository: "https://example.org/acme/app", Revision: "7a3b5c9", Version: "v1.2.3"}, map[string]string{
			"org.opencontainers.image.source":   "https://example.org/acme/app",
			"org.opencontainers.image.revision": "7a3b5c9",
			"org.opencontainers.image.version":  "v1.2.3",
			"org.opencontainers.image.created":  "2026-03-04T05:06:07Z",
		}},
		{"no git", facts{}, map[string]string{"org.opencontainers.image.created": "2026-03-04T05:06:07Z"}},
	} {
		if diff := cmp.Diff(tc.want, tc.in.labels(date)); diff != "" {
			t.Errorf("%s: labels (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestImageDate(t *testing.T) {
	commit := time.Date(2026, 3, 4, 5, 6, 7, 890, time.FixedZone("CET", 3600))
	for _, tc := range []struct {
		name     string
		in       facts
		arg, env string
		want     string
	}{
		{"of the commit, UTC, whole seconds", facts{Date: commit}, "", "", "2026-03-04T04:06:07Z"},
		{"constant outside git", facts{}, "", "", "1980-01-01T00:00:00Z"},
		{"variable over commit", facts{Date: commit}, "", "60", "1970-01-01T00:01:00Z"},
		{"argument over variable", facts{Date: commit}, "120", "60", "1970-01-01T00:02:00Z"},
	} {
		got, err := tc.in.imageDate("", map[string]string{epochArg: tc.arg}, func(string) string { return tc.env })
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if got.Format(time.RFC3339) != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got.Format(time.RFC3339), tc.want)
		}
	}
	for value, why := range map[string]string{
		"context":      "BuildKit ignores it for a local context",
		"-1":           "it is no time",
		"253402300800": "no image config can say the year 10000",
	} {
		if _, err := (facts{}).imageDate("", map[string]string{epochArg: value}, func(string) string { return "" }); err == nil {
			t.Errorf("SOURCE_DATE_EPOCH=%s is accepted; %s", value, why)
		}
	}
}

// Workflows that others cause run for one commit and check out another.
func TestTheCommitIsTheCheckouts(t *testing.T) {
	dir := t.TempDir()
	when := time.Date(2023, time.November, 25, 10, 0, 0, 0, time.UTC)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	commit, err := gitcheckout.Commit(dir, gitcheckout.Options{When: when})
	if err != nil {
		t.Fatal(err)
	}
	got := readFacts(t.Context(), dir, ci.Context{Revision: "7a3b5c97a3b5c97a3b5c97a3b5c97a3b5c97a3b5", Branch: "main"}, func(err error) { t.Error(err) })
	if got.Revision != commit || !got.Date.Equal(when) || got.Ref != "refs/heads/main" {
		t.Errorf("facts are %+v; want commit %s of %v on main", got, commit, when)
	}
}

func TestTheCIHasTheLastWordOnNames(t *testing.T) {
	warn := func(err error) { t.Errorf("a checkout without git is no problem, but: %v", err) }
	for _, tc := range []struct {
		name string
		run  ci.Context
		want facts
	}{
		{"nothing known", ci.Context{Kind: ci.Terminal}, facts{}},
		{"branch", ci.Context{Repository: "https://example.org/app", Revision: "7a3b5c9", Branch: "main"},
			facts{Repository: "https://example.org/app", Revision: "7a3b5c9", Ref: "refs/heads/main"}},
		{"tag", ci.Context{Revision: "7a3b5c9", Tag: "v1.2.3"}, facts{Revision: "7a3b5c9", Ref: "refs/tags/v1.2.3", Version: "v1.2.3"}},
	} {
		if diff := cmp.Diff(tc.want, readFacts(t.Context(), t.TempDir(), tc.run, warn)); diff != "" {
			t.Errorf("%s: facts (-want +got):\n%s", tc.name, diff)
		}
	}
}
