package database

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aquasecurity/trivy-java-db/pkg/db"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/test/registry"
)

// What Trivy's own client finds is what the index holds.
func TestTheJavaIndexAnswersTrivysClient(t *testing.T) {
	dir := t.TempDir()
	own := []JavaArchive{{GroupID: "g", ArtifactID: "a", Version: "1", SHA1: "0a0b"}}
	// The second replaces the first.
	if err := errors.Join(WriteJava(dir, JavaOptions{}), WriteJava(dir, JavaOptions{Archives: own})); err != nil {
		t.Fatal(err)
	}
	index, err := db.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { index.Close() })
	for sum, want := range map[string]string{own[0].SHA1: "g a 1 jar", MavenArchives()[0].SHA1: "   "} {
		if got, err := index.SelectIndexBySha1(sum); err != nil || got.GroupID+" "+got.ArtifactID+" "+got.Version+" "+string(got.ArchiveType) != want {
			t.Errorf("%s is %v, %v; want %q", sum, got, err, want)
		}
	}
}

func TestMetadataOfTheJavaIndexSaysWhatWasAskedFor(t *testing.T) {
	then := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	if err := WriteJava(dir, JavaOptions{Archives: []JavaArchive{}, Version: 7, UpdatedAt: then}); err != nil {
		t.Fatal(err)
	}
	metadata := db.NewMetadata(dir)
	got, err := metadata.Get()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(db.Metadata{Version: 7, UpdatedAt: then, NextUpdate: then.AddDate(0, 0, 3)}, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left in %s: %v, %v; want the index and its metadata", filepath.Base(dir), entries, err)
	}
}

func TestTheJavaArtifactIsWhatTrivyPulls(t *testing.T) {
	s := registry.ForTest(t, registry.Options{})
	ref, err := name.ParseReference(s.Addr() + "/aquasecurity/trivy-java-db:1")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := SeedJava(t.Context(), ref, JavaOptions{})
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
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != javaLayerType || manifest.Layers[0].Annotations["org.opencontainers.image.title"] != "javadb.tar.gz" {
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
	if got, want := names(t, packed), []string{"metadata.json", "trivy-java.db"}; !slices.Equal(got, want) {
		t.Errorf("the artifact holds %v, want %v", got, want)
	}
}
