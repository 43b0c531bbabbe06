package finding

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatSeveralPlatformsHaveIsListedOnce(t *testing.T) {
	zlib := Finding{Severity: Critical, Rule: "CVE-1", Place: Place{Package: "zlib1g", Version: "1", Layer: "sha256:aa"}}
	other := zlib
	other.Place.Layer = "sha256:bb" // the same package comes in another layer there
	newer := zlib
	newer.Place.Version = "2"
	key := Finding{Severity: High, Rule: "private-key", Message: "a key", Place: Place{File: "app/key.pem", Line: 3}}

	on := func(f Finding, platforms ...string) Finding {
		f.Place.Platforms = platforms
		return f
	}
	for _, tc := range []struct {
		name string
		all  []OnPlatform
		want []Finding
	}{
		{"nothing", nil, nil},
		{"one platform has no name", []OnPlatform{{"linux/amd64", []Finding{zlib}}}, []Finding{zlib}},
		{"on all", []OnPlatform{{"linux/amd64", []Finding{zlib}}, {"linux/arm64", []Finding{other}}}, []Finding{zlib}},
		{"on one of two", []OnPlatform{{"linux/amd64", nil}, {"linux/arm64", []Finding{zlib}}}, []Finding{on(zlib, "linux/arm64")}},
		{"another version is another finding", []OnPlatform{{"linux/amd64", []Finding{zlib}}, {"linux/arm64", []Finding{newer}}},
			[]Finding{on(zlib, "linux/amd64"), on(newer, "linux/arm64")}},
		{"two of a kind stay two", []OnPlatform{{"linux/amd64", []Finding{key, key}}, {"linux/arm64", []Finding{key}}}, []Finding{key, on(key, "linux/amd64")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Join(tc.all)); diff != "" {
				t.Errorf("Join (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFingerprintOutlivesLinesAndVersions(t *testing.T) {
	f := Finding{Rule: "CVE-1", Place: Place{File: "app/x.jar", Package: "log4j-core", Version: "2.14.1"}}
	moved := f
	moved.Place.Version, moved.Place.Line, moved.Place.Layer = "2.15.0", 7, "sha256:aa"
	if f.Fingerprint() != moved.Fingerprint() {
		t.Error("another version and layer change the fingerprint")
	}
	prints := []string{f.Fingerprint()}
	for _, change := range []func(*Finding){
		func(f *Finding) { f.Rule = "CVE-2" },
		func(f *Finding) { f.Place.File = "app/y.jar" },
		func(f *Finding) { f.Place.File, f.Place.Package = "app/x.jarl", "og4j-core" },
	} {
		other := f
		change(&other)
		if slices.Contains(prints, other.Fingerprint()) {
			t.Errorf("%+v has the fingerprint of another finding", other)
		}
	}
}
