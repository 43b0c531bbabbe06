package database

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	bolt "go.etcd.io/bbolt"

	"github.com/imagewright/imagewright/test/registry"
)

// Every advisory has a description, and every bucket a source: Trivy shows both.
func TestFactsAreComplete(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Init(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, tc := range []struct{ bucket, pkg, id, fixed string }{
		{"debian 12", "glibc", "CVE-2023-4911", "2.36-9+deb12u3"},
		{"debian 12", "zlib", "CVE-2023-45853", ""},
		{"alpine 3.18", "openssl", "CVE-2023-5363", "3.1.4-r0"},
		{"go::", "golang.org/x/net", "CVE-2023-39325", "0.17.0"},
		{"go::", "stdlib", "CVE-2024-24790", "1.21.11"},
		{"npm::", "minimist", "CVE-2021-44906", "1.2.6"},
		{"pip::", "pyyaml", "CVE-2020-14343", "5.4"},
		{"maven::", "org.apache.logging.log4j:log4j-core", "CVE-2021-44228", "2.15.0"},
	} {
		t.Run(tc.pkg, func(t *testing.T) {
			advisories, err := db.Config{}.GetAdvisories(tc.bucket, tc.pkg)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range advisories {
				if a.VulnerabilityID != tc.id {
					continue
				}
				if fixed := append(a.PatchedVersions, a.FixedVersion); fixed[0] != tc.fixed {
					t.Errorf("%s of %s is fixed in %q, want %q", tc.id, tc.pkg, fixed[0], tc.fixed)
				}
				if a.DataSource == nil || a.DataSource.ID == "" {
					t.Errorf("%s of %s has no data source", tc.id, tc.pkg)
				}
				if v, err := (db.Config{}).GetVulnerability(tc.id); err != nil || v.Title == "" || v.PublishedDate == nil {
					t.Errorf("%s has no title or date: %+v, %v", tc.id, v, err)
				}
				return
			}
			t.Errorf("no %s for %s in %s: %v", tc.id, tc.pkg, tc.bucket, advisories)
		})
	}
}

// Trivy shows a title and a source with each advisory; the fixtures lack none.
func TestEveryAdvisoryIsDescribed(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	file, err := bolt.Open(filepath.Join(dir, databaseFile), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if err := file.View(func(tx *bolt.Tx) error {
		known := func(bucket string, key []byte) bool {
			b := tx.Bucket([]byte(bucket))
			return b != nil && b.Get(key) != nil
		}
		return tx.ForEach(func(name []byte, platform *bolt.Bucket) error {
			switch string(name) {
			case "vulnerability", "data-source", "Red Hat CPE":
				return nil
			}
			if !known("data-source", name) {
				t.Errorf("%s has no data source", name)
			}
			return platform.ForEachBucket(func(pkg []byte) error {
				return platform.Bucket(pkg).ForEach(func(id, advisory []byte) error {
					for _, id := range described(t, id, advisory) {
						if !known("vulnerability", []byte(id)) {
							t.Errorf("%s of %s in %s has no description", id, pkg, name)
						}
					}
					return nil
				})
			})
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// described are the vulnerabilities that an advisory is about: its own, or those
// that one of Red Hat's names.
func described(t *testing.T, id, advisory []byte) []string {
	t.Helper()
	var content struct {
		Entries []struct{ Cves []struct{ ID string } }
	}
	if err := json.Unmarshal(advisory, &content); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	var ids []string
	for _, entry := range content.Entries {
		for _, cve := range entry.Cves {
			if cve.ID != "" {
				ids = append(ids, cve.ID)
			}
		}
	}
	if len(ids) == 0 {
		return []string{string(id)}
	}
	return ids
}

func TestMetadataSaysWhatWasAskedFor(t *testing.T) {
	then := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	if err := Write(dir, Options{Fixtures: []string{}, Version: 7, UpdatedAt: then}); err != nil {
		t.Fatal(err)
	}
	got, err := metadata.NewClient(dir).Get()
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.Metadata{Version: 7, UpdatedAt: then, NextUpdate: then.AddDate(0, 0, 1)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left in %s: %v, %v; want the database and its metadata", dir, entries, err)
	}
}

func TestArtifactIsWhatTrivyPulls(t *testing.T) {
	s := registry.ForTest(t, registry.Options{})
	ref, err := name.ParseReference(s.Addr() + "/aquasecurity/trivy-db:2")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := Seed(t.Context(), ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref.Context().Digest(digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != layerType || manifest.Layers[0].Annotations["org.opencontainers.image.title"] != "db.tar.gz" {
		t.Fatalf("layers are %+v", manifest.Layers)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	if got, want := names(t, packed), []string{"metadata.json", "trivy.db"}; !slices.Equal(got, want) {
		t.Errorf("the artifact holds %v, want %v", got, want)
	}
}

func TestOwnFixturesReplaceTheBuiltInOnes(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(t.TempDir(), "own.yaml")
	text := "- bucket: debian 12\n  pairs:\n    - bucket: own\n      pairs:\n        - key: CVE-0000-0000\n          value:\n            FixedVersion: \"1\"\n"
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Write(dir, Options{}), Write(dir, Options{Fixtures: []string{own}})); err != nil {
		t.Fatal(err)
	}
	if err := db.Init(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for pkg, want := range map[string]int{"own": 1, "glibc": 0} {
		if got, err := (db.Config{}).GetAdvisories("debian 12", pkg); err != nil || len(got) != want {
			t.Errorf("advisories of %s: %v, %v; want %d", pkg, got, err, want)
		}
	}
}

// names returns what a gzipped tar holds, sorted.
func names(t *testing.T, packed io.Reader) []string {
	t.Helper()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if err == io.EOF {
			slices.Sort(found)
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, header.Name)
	}
}
