package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestARecordComesBackAsWritten(t *testing.T) {
	dir := t.TempDir()
	want := &Build{
		Image:  Image{Digest: "sha256:aa", MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 12, Platforms: []string{"linux/amd64"}},
		Names:  []string{"registry.example.com/hello:1"},
		Source: Source{Repository: "https://example.com/hello", Revision: "abc", Ref: "refs/heads/main", Date: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		Materials: []Material{
			{Name: "alpine:3.22", Digest: "sha256:bb", Platform: "linux/amd64"},
		},
		Attestations: []Attestation{
			{PredicateType: "https://slsa.dev/provenance/v1", Path: "reports/provenance.intoto.json", Digest: "sha256:aa", Platform: "linux/amd64"},
		},
		SBOM: true,
	}
	if err := Write(dir, "build", want); err != nil {
		t.Fatal(err)
	}
	got, err := Read[Build](dir, "build")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Errorf("record changed on its way (-want +got):\n%s", diff)
	}
}

// A record without what later versions added is read, and written, as before.
func TestWhatABuildHasNotIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, "build", &Build{Image: Image{Digest: "sha256:aa", Platforms: []string{"linux/amd64"}}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path(dir, "build"))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"names", "materials", "attestations", "sbom"} {
		if strings.Contains(string(data), `"`+field+`"`) {
			t.Errorf("the record has %s, of which there is none:\n%s", field, data)
		}
	}
}

func TestUnknownFieldsSurviveARewrite(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "scan", `{"version":1,"digest":"sha256:aa","verdict":"pass","later":{"x":[1,2]},"failOn":[],"counts":{},"database":{"version":2}}`)
	s, err := Read[Scan](dir, "scan")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, "scan", &s); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path(dir, "scan"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"later"`) {
		t.Errorf("the field of a later version is lost:\n%s", data)
	}
}

func TestWhatCannotBeReadIsToldApart(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          func(error) bool
		code          int
	}{
		{"missing", "", func(err error) bool { return errors.Is(err, ErrNotFound) }, 1},
		{"newer", `{"version":2,"digest":7}`, func(err error) bool { _, ok := errors.AsType[*NewerError](err); return ok }, 2},
		{"torn", `{"version":1,"dig`, func(err error) bool { return strings.Contains(err.Error(), "is damaged") }, 1},
		{"no version", `{}`, func(err error) bool { return strings.Contains(err.Error(), "no version") }, 1},
		{"wrong type", `{"version":1,"digest":7}`, func(err error) bool { return strings.Contains(err.Error(), "is damaged") }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.content != "" {
				put(t, dir, "scan", tc.content)
			}
			_, err := Read[Scan](dir, "scan")
			if err == nil || !tc.want(err) {
				t.Fatalf("Read says %v", err)
			}
			if code := fault.Code(err); code != tc.code {
				t.Errorf("exit code %d, want %d for: %v", code, tc.code, err)
			}
		})
	}
}

func TestRemoveTakesOnlyThatRecord(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "scan", `{"version":1}`)
	put(t, dir, "build", `{"version":1}`)
	for range 2 { // the second time there is none
		if err := Remove(dir, "scan"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read[Scan](dir, "scan"); !errors.Is(err, ErrNotFound) {
		t.Errorf("scan's record is still there: %v", err)
	}
	if _, err := Read[Build](dir, "build"); err != nil {
		t.Errorf("build's record is gone: %v", err)
	}
}

func put(t *testing.T, dir, step, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "record"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path(dir, step), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
