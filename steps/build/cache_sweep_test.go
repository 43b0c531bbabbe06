package build

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// localCache is a directory with blobs, in it long ago, and an index.
type localCache struct {
	t   *testing.T
	dir string
}

func (c localCache) put(text string) digest.Digest {
	c.t.Helper()
	d := digest.FromString(text)
	path := filepath.Join(c.dir, "blobs", "sha256", d.Encoded())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	long := time.Now().Add(-2 * sweepAge)
	if err := os.Chtimes(path, long, long); err != nil {
		c.t.Fatal(err)
	}
	return d
}

func (c localCache) putJSON(v any) digest.Digest {
	c.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.put(string(text))
}

func (c localCache) index(text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, "index.json"), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// names are the short names in all of the digests whose blobs are there.
func (c localCache) names(all map[string]digest.Digest) []string {
	var there []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, err := os.Stat(filepath.Join(c.dir, "blobs", "sha256", all[name].Encoded())); err == nil {
			there = append(there, name)
		}
	}
	return there
}

func TestALocalCacheLosesWhatNoTagNeeds(t *testing.T) {
	c := localCache{t, t.TempDir()}
	all := map[string]digest.Digest{}
	for _, name := range []string{"config", "layer", "of an index", "records", "old", "young"} {
		all[name] = c.put(name)
	}
	desc := func(mediaType, name string) ocispecs.Descriptor {
		return ocispecs.Descriptor{MediaType: mediaType, Digest: all[name]}
	}
	all["manifest"] = c.putJSON(ocispecs.Manifest{
		Config: desc("application/vnd.buildkit.cacheconfig.v0", "config"),
		Layers: []ocispecs.Descriptor{desc(ocispecs.MediaTypeImageLayerGzip, "layer")},
	})
	all["index"] = c.putJSON(ocispecs.Index{Manifests: []ocispecs.Descriptor{
		desc(ocispecs.MediaTypeImageLayerGzip, "of an index"), desc("application/vnd.buildkit.cacheconfig.v0", "records"),
	}})
	root, err := json.Marshal(ocispecs.Index{Manifests: []ocispecs.Descriptor{
		desc(ocispecs.MediaTypeImageManifest, "manifest"), desc(ocispecs.MediaTypeImageIndex, "index"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.index(string(root))
	young := filepath.Join(c.dir, "blobs", "sha256", all["young"].Encoded())
	if err := os.Chtimes(young, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(c.dir, "blobs", "sha256", "notes.txt")
	if err := os.WriteFile(foreign, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	entries := []client.CacheOptionsEntry{{Type: "registry"}, {Type: "local", Attrs: map[string]string{"dest": c.dir}}}
	if err := sweepCaches(entries, time.Now()); err != nil {
		t.Fatal(err)
	}
	want := []string{"config", "index", "layer", "manifest", "of an index", "records", "young"}
	if diff := cmp.Diff(want, c.names(all)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file that is no blob was removed: %v", err)
	}
}

func TestALocalCacheThatCannotBeReadKeepsEverything(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "index.json")
	if err := os.WriteFile(outside, []byte(`{}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, index, want string }{
		{"no JSON", "{", "index.json"},
		{"a manifest that is missing", `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`, "no such file"},
		{"a path for a digest", `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../../index.json"}]}`, "invalid"},
		{"an index outside", "", "escapes"},
	} {
		c := localCache{t, t.TempDir()}
		all := map[string]digest.Digest{"blob": c.put("blob")}
		c.index(tc.index)
		if tc.index == "" {
			if err := os.Remove(filepath.Join(c.dir, "index.json")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(c.dir, "index.json")); err != nil {
				t.Fatal(err)
			}
		}
		err := sweepCaches([]client.CacheOptionsEntry{{Type: "local", Attrs: map[string]string{"dest": c.dir}}}, time.Now())
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("%s: error %v, want %q and the directory's name", tc.name, err, tc.want)
		}
		if len(c.names(all)) != 1 {
			t.Errorf("%s: a blob was removed", tc.name)
		}
	}
}
