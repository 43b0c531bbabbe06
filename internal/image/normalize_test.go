package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"pgregory.net/rapid"
)

// commitDate is the date of what tests build, later than any file of theirs.
func commitDate() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// pack is how a builder of a test compresses its layers.
type pack struct {
	kind  types.MediaType
	bytes func(testing.TB, []byte) []byte
}

func packs() map[string]pack {
	return map[string]pack{
		"gzip":  {types.OCILayer, gzipBytes},
		"zstd":  {types.OCILayerZStd, zstdBytes},
		"plain": {types.OCIUncompressedLayer, func(_ testing.TB, b []byte) []byte { return b }},
	}
}

// emptyLayout is a layout without a root.
func emptyLayout(t testing.TB) *Layout {
	t.Helper()
	return value[*Layout](t)(CreateLayout(filepath.Join(t.TempDir(), "image")))
}

// putLayers puts an image of these layer tars into l, as a builder would that
// is not ours: its history has the dates of the build.
func putLayers(t testing.TB, l *Layout, arch string, p pack, tars ...[]byte) v1.Descriptor {
	t.Helper()
	config := &v1.ConfigFile{OS: "linux", Architecture: arch, Created: v1.Time{Time: time.Now()}, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, raw := range tars {
		diffID, _, err := v1.SHA256(bytes.NewReader(raw))
		must(t, err)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, v1.History{CreatedBy: "RUN make # buildkit", Created: config.Created})
		m.Layers = append(m.Layers, putBytes(t, l, p.kind, p.bytes(t, raw)))
	}
	m.Config = putBytes(t, l, types.OCIConfigJSON, value[[]byte](t)(json.Marshal(config)))
	return putBytes(t, l, types.OCIManifestSchema1, value[[]byte](t)(json.Marshal(m)))
}

// plainTar is the tar of the layer desc.
func plainTar(t testing.TB, l *Layout, desc v1.Descriptor) []byte {
	t.Helper()
	blob := value[io.ReadCloser](t)(l.Blob(desc))
	defer blob.Close()
	r := value[io.ReadCloser](t)(decompress(blob))
	defer r.Close()
	return value[[]byte](t)(io.ReadAll(r))
}

// entry is all of a tar's entry that a runtime applies, but for its time.
type entry struct {
	Name, Link, Content string
	Kind                byte
	Mode                int64
	UID, GID            int
	Major, Minor        int64
	Xattrs              map[string]string
}

func entries(t testing.TB, raw []byte) (all []entry) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		must(t, err)
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e := entry{Name: h.Name, Link: h.Linkname, Kind: h.Typeflag, Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid, Major: h.Devmajor, Minor: h.Devminor, Xattrs: map[string]string{}}
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, xattrRecord) {
				e.Xattrs[k] = v
			}
		}
		e.Content = string(value[[]byte](t)(io.ReadAll(r)))
		if isWhiteout(h.Name) { // nothing else of one is applied
			e = entry{Name: h.Name, Kind: tar.TypeReg, Xattrs: map[string]string{}}
		}
		all = append(all, e)
	}
}

// checkTimes checks that nothing in a normal tar tells when or where it was made.
func checkTimes(t testing.TB, raw []byte) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		must(t, err)
		if h.ModTime.After(LayerTime()) || h.ModTime.Nanosecond() != 0 || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: times %v, %v, %v; names %q, %q", h.Name, h.ModTime, h.AccessTime, h.ChangeTime, h.Uname, h.Gname)
		}
	}
}

// anyTar draws a layer with entries of all kinds, in a format of its own.
func anyTar(t *rapid.T) []byte {
	format := rapid.SampledFrom([]tar.Format{tar.FormatUnknown, tar.FormatPAX, tar.FormatGNU}).Draw(t, "format")
	part := rapid.StringMatching(`[a-zA-Z0-9 ._äß-]{1,40}`)
	if rapid.Bool().Draw(t, "long") {
		part = rapid.StringMatching(`[a-z]{60,120}`)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for range rapid.IntRange(0, 8).Draw(t, "entries") {
		h := &tar.Header{
			Format:   format,
			Name:     strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "name"), "/"),
			Typeflag: rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar, tar.TypeBlock}).Draw(t, "kind"),
			Mode:     rapid.Int64Range(0, 0o7777).Draw(t, "mode") | rapid.SampledFrom([]int64{0, 0o100000, 0o40000}).Draw(t, "mode's kind"),
			Uid:      rapid.IntRange(0, 1<<31-1).Draw(t, "uid"), Gid: rapid.IntRange(0, 1<<31-1).Draw(t, "gid"),
			Uname: "builder", Gname: "builders",
			ModTime: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "mtime"), 0),
		}
		if format != tar.FormatUnknown {
			h.AccessTime, h.ChangeTime = h.ModTime, h.ModTime
		}
		if format == tar.FormatPAX && rapid.Bool().Draw(t, "xattr") {
			h.PAXRecords = map[string]string{xattrRecord + "security.capability": rapid.StringMatching(`[\x00-\x7f]{1,20}`).Draw(t, "value"), "comment": "made by a test"}
		}
		content := ""
		switch h.Typeflag {
		case tar.TypeDir:
			h.Name += "/"
		case tar.TypeSymlink, tar.TypeLink:
			h.Linkname = strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "link"), "/")
		case tar.TypeChar, tar.TypeBlock:
			h.Devmajor, h.Devminor = rapid.Int64Range(0, 255).Draw(t, "major"), rapid.Int64Range(0, 255).Draw(t, "minor")
		case tar.TypeReg:
			content = rapid.StringN(0, 2000, -1).Draw(t, "content")
			if rapid.Bool().Draw(t, "whiteout") {
				h.Name, content = h.Name+"/.wh.gone", ""
			}
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNormalizingKeepsWhatARuntimeApplies(t *testing.T) {
	l := emptyLayout(t)
	rapid.Check(t, func(r *rapid.T) {
		raw := anyTar(r)
		p := packs()[rapid.SampledFrom([]string{"gzip", "zstd", "plain"}).Draw(r, "packed")]
		root := putLayers(t, l, "amd64", p, raw)
		n := Normalization{Date: commitDate()}
		once, err := Normalize(t.Context(), l, root, n)
		if err != nil {
			r.Fatal(err)
		}
		twice, err := Normalize(t.Context(), l, once, n)
		if err != nil || twice.Digest != once.Digest {
			r.Fatalf("normalized again it is %s and not %s (%v)", twice.Digest, once.Digest, err)
		}
		made := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(once.Digest)).Manifest())
		got := plainTar(t, l, made.Layers[0])
		checkTimes(t, got)
		if diff := cmp.Diff(entries(t, raw), entries(t, got)); diff != "" {
			r.Fatalf("entries (-before +after):\n%s", diff)
		}
		must(t, l.Verify(t.Context(), once.Digest))
	})
}

func TestEqualContentHasOneDigestHoweverItWasPacked(t *testing.T) {
	l := emptyLayout(t)
	digests := map[v1.Hash]string{}
	for name, p := range packs() {
		raw := makeTar(t, file{name: "app", content: strings.Repeat("x", 3<<20)})
		root := value[v1.Descriptor](t)(Normalize(t.Context(), l, putLayers(t, l, "amd64", p, raw), Normalization{Date: commitDate()}))
		digests[root.Digest] = name
	}
	if len(digests) != 1 {
		t.Errorf("the same files became %d images: %v", len(digests), digests)
	}
}

// baseOf is the config of an image, for Normalization.Base.
func baseOf(t testing.TB, l *Layout, desc v1.Descriptor) func(v1.Platform) *v1.ConfigFile {
	config := value[*v1.ConfigFile](t)(value[v1.Image](t)(l.Image(desc.Digest)).ConfigFile())
	return func(v1.Platform) *v1.ConfigFile { return config }
}

func TestLayersOfTheBaseStayAsTheyAre(t *testing.T) {
	l := emptyLayout(t)
	below, above := makeTar(t, file{name: "etc/os-release", content: "base"}), makeTar(t, file{name: "app", content: "app"})
	for name, tc := range map[string]struct {
		packed pack
		pack   bool
		kept   bool // the blob
	}{
		"compressed":                   {packs()["gzip"], true, true},
		"zstd":                         {packs()["zstd"], true, true},
		"uncompressed in its registry": {packs()["plain"], false, true},
		"uncompressed by docker save":  {packs()["plain"], true, false},
	} {
		t.Run(name, func(t *testing.T) {
			base := putLayers(t, l, "amd64", tc.packed, below)
			root := putLayers(t, l, "amd64", tc.packed, below, above)
			was := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(root.Digest)).Manifest())
			made := value[v1.Descriptor](t)(Normalize(t.Context(), l, root, Normalization{Date: commitDate(), Base: baseOf(t, l, base), Pack: tc.pack}))
			got := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(made.Digest)).Manifest())
			if same := got.Layers[0].Digest == was.Layers[0].Digest; same != tc.kept {
				t.Errorf("the base's layer is %s, was %s", got.Layers[0].Digest, was.Layers[0].Digest)
			}
			if !bytes.Equal(plainTar(t, l, got.Layers[0]), below) {
				t.Error("the base's files are others")
			}
			if got.Layers[1].Digest == was.Layers[1].Digest || got.Layers[1].MediaType != types.OCILayer {
				t.Errorf("the image's own layer is %v", got.Layers[1])
			}
			must(t, l.Verify(t.Context(), made.Digest))
		})
	}
}

func TestALayerThatIsDamagedEndsIt(t *testing.T) {
	good := makeTar(t, file1("app", "app"))
	for name, tc := range map[string]struct {
		tar  []byte
		want string
	}{
		"cut off":   {makeTar(t, file1("app", strings.Repeat("x", 2000)))[:1024], "ends early"},
		"no tar":    {[]byte(strings.Repeat("no tar", 200)), "read layer"},
		"no end":    {nil, "empty"},
		"too large": {sparseHeader(t), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			l := emptyLayout(t)
			_, err := Normalize(t.Context(), l, putLayers(t, l, "amd64", packs()["gzip"], good, tc.tar), Normalization{})
			wantError(t, err, 1, "layer 2 of 2", tc.want)
			noTemporaryFiles(t, l)
		})
	}
	t.Run("another content", func(t *testing.T) {
		l := emptyLayout(t)
		root := putLayers(t, l, "amd64", packs()["gzip"], good)
		layer := value[*v1.Manifest](t)(value[v1.Image](t)(l.Image(root.Digest)).Manifest()).Layers[0]
		damage(t, l, layer)
		_, err := Normalize(t.Context(), l, root, Normalization{})
		if _, ok := errors.AsType[*Damaged](err); !ok {
			t.Errorf("error %v; want one that the blob is damaged", err)
		}
		noTemporaryFiles(t, l)
	})
}

// damage changes a byte of the blob desc, not its size.
func damage(t testing.TB, l *Layout, desc v1.Descriptor) {
	t.Helper()
	raw := value[[]byte](t)(os.ReadFile(l.blobPath(desc.Digest)))
	raw[len(raw)-1]++
	must(t, os.WriteFile(l.blobPath(desc.Digest), raw, 0o644))
}

// sparseHeader is a tar of one file that is a hole of 8 EiB, in GNU's format.
func sparseHeader(t testing.TB) []byte {
	raw := makeTar(t, file1("hole", ""))
	block := raw[:512]
	block[156] = tar.TypeGNUSparse
	copy(block[257:265], "ustar  \x00")
	copy(block[386:], bytes.Repeat([]byte{0}, 97))
	copy(block[483:495], []byte{0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // its real size
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:156], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	return raw
}

func noTemporaryFiles(t testing.TB, l *Layout) {
	t.Helper()
	must(t, filepath.WalkDir(l.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".") {
			t.Errorf("%s was left behind", path)
		}
		return err
	}))
}

func TestAnIndexIsNormalizedImageByImage(t *testing.T) {
	l := emptyLayout(t)
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Annotations: map[string]string{"org.example.index": "yes"}}
	for _, arch := range []string{"arm64", "amd64"} {
		desc := putLayers(t, l, arch, packs()["gzip"], makeTar(t, file1("app", arch)))
		desc.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		desc.Annotations = map[string]string{"org.example.descriptor": arch}
		index.Manifests = append(index.Manifests, desc)
	}
	proof := putImage(t, l, attestation(t))
	proof.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": index.Manifests[0].Digest.String()}
	index.Manifests = append(index.Manifests, proof)
	root := putBytes(t, l, types.OCIImageIndex, value[[]byte](t)(json.Marshal(index)))

	made := value[v1.Descriptor](t)(Normalize(t.Context(), l, root, Normalization{Date: commitDate()}))
	got := value[*v1.IndexManifest](t)(value[v1.ImageIndex](t)(l.Index(made.Digest)).IndexManifest())
	if len(got.Manifests) != 2 || !maps.Equal(got.Annotations, index.Annotations) {
		t.Fatalf("the index has %d manifests and annotations %v", len(got.Manifests), got.Annotations)
	}
	for i, desc := range got.Manifests {
		was := index.Manifests[i]
		if desc.Platform.Architecture != was.Platform.Architecture || !maps.Equal(desc.Annotations, was.Annotations) || desc.Digest == was.Digest {
			t.Errorf("manifest %d is %v, was %v", i, desc, was)
		}
	}
}
