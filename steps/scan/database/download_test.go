package database

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type member struct {
	name string
	kind byte
	text string
}

// archive is a gzipped tar of members.
func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Mode: 0o644, Size: int64(len(m.text))}
		if m.kind == tar.TypeSymlink {
			h.Linkname, h.Size = m.text, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(m.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const goodMetadata = `{"Version":2,"NextUpdate":"2026-03-02T00:00:00Z","UpdatedAt":"2026-03-01T00:00:00Z"}`

func TestOnlyTheTwoFilesAreUnpacked(t *testing.T) {
	dir := t.TempDir()
	packed := archive(t,
		member{"../escape", tar.TypeReg, "x"}, member{"/etc/passwd", tar.TypeReg, "x"}, member{"sub/trivy.db", tar.TypeReg, "x"},
		member{"./trivy.db", tar.TypeReg, "bolt"}, member{"trivy.db", tar.TypeReg, "second"}, member{"metadata.json", tar.TypeReg, goodMetadata})
	if err := Vulnerabilities().unpack(bytes.NewReader(packed), dir); err != nil {
		t.Fatal(err)
	}
	files := content(t, dir)
	if len(files) != 2 || files["trivy.db"] != "bolt" || files["metadata.json"] != goodMetadata {
		t.Errorf("unpacked %v, want the first trivy.db and metadata.json alone", files)
	}
}

func TestArtifactsThatAreNoDatabaseAreRefused(t *testing.T) {
	opts, addr := newOptions(t)
	layerType := opts.Kind.layer
	db, meta := member{"trivy.db", tar.TypeReg, "bolt"}, member{"metadata.json", tar.TypeReg, goodMetadata}
	good := archive(t, db, meta)
	many := make([]member, maxEntries+1)
	for i := range many {
		many[i] = member{"x", tar.TypeReg, ""}
	}
	for _, tc := range []struct {
		name      string
		layer     []byte
		mediaType types.MediaType
		want      string
	}{
		{"another media type", good, types.OCILayer, "want one layer of media type"},
		{"not gzip", []byte("plain"), layerType, "unpack"},
		{"cut off", good[:len(good)-9], layerType, "unpack"},
		{"no database", archive(t, meta), layerType, "holds no trivy.db"},
		{"no metadata", archive(t, db), layerType, "holds no metadata.json"},
		{"an empty database", archive(t, member{"trivy.db", tar.TypeReg, ""}, meta), layerType, "is empty"},
		{"a link in its place", archive(t, member{"trivy.db", tar.TypeSymlink, "/etc/passwd"}, meta), layerType, "holds no trivy.db"},
		{"metadata that is no JSON", archive(t, db, member{"metadata.json", tar.TypeReg, "{"}), layerType, "metadata.json"},
		{"metadata of another schema", archive(t, db, member{"metadata.json", tar.TypeReg, `{"Version":3}`}), layerType, "schema version 3"},
		{"metadata too large", archive(t, db, member{"metadata.json", tar.TypeReg, strings.Repeat(" ", maxMetadataBytes+1)}), layerType, "more than"},
		{"too many files", archive(t, many...), layerType, "more than 100 files"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := opts
			o.CacheDir = t.TempDir()
			o.Repositories = []string{addr + "/bad:2"}
			push(t, o.Repositories[0], tc.layer, tc.mediaType)
			_, err := Ready(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Ready says %v; want an error with %q", err, tc.want)
			}
			if files := content(t, o.CacheDir); len(files) > 0 {
				t.Errorf("files are left in the cache: %v", files)
			}
		})
	}
}

func push(t *testing.T, reference string, layer []byte, mediaType types.MediaType) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(layer, mediaType), MediaType: mediaType})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}
