package analysis

import (
	"slices"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// merged analyses layers of files, bottom up, and merges them.
func merged(t *testing.T, layers ...[]file) *Detail {
	t.Helper()
	results, config := resultsOf(t, layers...)
	d, err := Merge(results, config, nil)
	if err != nil {
		t.Fatalf("Merge: %v", err)
	}
	return d
}

func resultsOf(t *testing.T, layers ...[]file) ([]*Result, *v1.ConfigFile) {
	t.Helper()
	var results []*Result
	config := &v1.ConfigFile{}
	for _, files := range layers {
		r := analysed(t, Options{}, files...)
		results = append(results, r)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, r.DiffID)
	}
	return results, config
}

// contents lists what is left as "name@version", sorted.
func contents(d *Detail) []string {
	var list []string
	for _, p := range d.Packages {
		list = append(list, p.ID)
	}
	for _, app := range d.Applications {
		for _, p := range app.Packages {
			list = append(list, p.Name+"@"+p.Version)
		}
	}
	slices.Sort(list)
	return list
}

func npm(dir, name, version string) file {
	return file{path: dir + "/node_modules/" + name + "/package.json", content: `{"name":"` + name + `","version":"` + version + `"}`}
}

func TestLaterLayersDeleteAndReplace(t *testing.T) {
	status := func(pkgs ...string) file {
		return file{path: "var/lib/dpkg/status", content: strings.Join(pkgs, "\n")}
	}
	const a1, b1, a2 = "Package: a\nVersion: 1-1\n", "Package: b\nVersion: 1-1\n", "Package: a\nVersion: 2-1\n"
	for _, tc := range []struct {
		name   string
		layers [][]file
		want   []string
	}{
		{"a replaced status file", [][]file{{status(a1, b1)}, {status(a2)}}, []string{"a@2-1"}},
		{"a whiteout of a file", [][]file{{npm("app", "x", "1"), npm("app", "y", "1")}, {{path: "app/node_modules/x/.wh.package.json"}}}, []string{"y@1"}},
		{"a whiteout of a directory far above", [][]file{{npm("app", "x", "1"), npm("opt", "y", "1")}, {{path: ".wh.app"}}}, []string{"y@1"}},
		{"a whiteout deletes no name that only starts alike", [][]file{{npm("app2", "x", "1")}, {{path: ".wh.app"}}}, []string{"x@1"}},
		{"an opaque directory", [][]file{{npm("app", "x", "1"), npm("opt", "y", "1")}, {{path: "app/.wh..wh..opq"}, npm("app", "z", "1")}}, []string{"y@1", "z@1"}},
		{"an opaque directory after its new content in the tar", [][]file{{npm("app", "x", "1")}, {npm("app", "z", "1"), {path: "app/.wh..wh..opq"}}}, []string{"z@1"}},
		{"an opaque directory with a hidden name", [][]file{{npm(".app", "x", "1"), npm("app", "y", "1")}, {{path: ".app/.wh..wh..opq"}}}, []string{"y@1"}},
		{"an opaque root", [][]file{{npm("app", "x", "1")}, {{path: ".wh..wh..opq"}}}, nil},
		{"deleted and put back", [][]file{{npm("app", "x", "1")}, {{path: ".wh.app"}}, {npm("app", "x", "2")}}, []string{"x@2"}},
		// As in Trivy: what hides packages may not be a file that says nothing.
		{"replaced by a file without packages", [][]file{{npm("app", "x", "1")}, {{path: "app/node_modules/x/package.json", content: "{}"}}}, []string{"x@1"}},
		{"one package in two places of dpkg", [][]file{{status(a1), {path: "var/lib/dpkg/status.d/a", content: a1}}}, []string{"a@1-1"}},
		{"one path twice in a tar", [][]file{{npm("app", "x", "1"), npm("app", "x", "2")}}, []string{"x@2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, contents(merged(t, tc.layers...))); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPackageBelongsToTheLayerThatBroughtIt(t *testing.T) {
	status := testdata(t, "dpkg-status")
	files := "0  lib/x86_64-linux-gnu/libc.so.6\n"
	results, config := resultsOf(t,
		[]file{{path: "etc/debian_version", content: "12.1\n"}, {path: "var/lib/dpkg/status", content: status}, {path: "var/lib/dpkg/info/libc6.md5sums", content: files}},
		[]file{npm("app", "x", "1")},
		[]file{{path: "var/lib/dpkg/status", content: status + "\nPackage: curl\nVersion: 7.88.1-10+deb12u1\n"}, npm("app", "x", "1")},
	)
	config.History = []v1.History{
		{CreatedBy: "/bin/sh -c #(nop) ADD file:1 in / "},
		{CreatedBy: "COPY app /app # buildkit"},
		{CreatedBy: "ENV A=b", EmptyLayer: true},
		{CreatedBy: "/bin/sh -c apt-get install curl"},
	}
	blobs := make([]v1.Descriptor, 3)
	for i := range blobs {
		blobs[i] = v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(string(rune('a'+i)), 64)}, Size: int64(i + 1)}
	}
	before, err := Merge(results, config, blobs)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Merge(results, config, blobs) // merging must not change the results
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, d); diff != "" {
		t.Errorf("a second merge differs (-first +second):\n%s", diff)
	}
	layer := map[string]ftypes.Layer{}
	for _, p := range d.Packages {
		layer[p.Name] = p.Layer
		if p.Name == "libc6" {
			if diff := cmp.Diff([]string{"/lib/x86_64-linux-gnu/libc.so.6"}, p.InstalledFiles); diff != "" {
				t.Errorf("libc6's files (-want +got):\n%s", diff)
			}
			if got, want := p.Identifier.PURL.String(), "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12.1"; got != want {
				t.Errorf("libc6 is %s, want %s", got, want)
			}
		}
	}
	for _, app := range d.Applications {
		for _, p := range app.Packages {
			layer[p.Name] = p.Layer
		}
	}
	for name, i := range map[string]int{"libc6": 0, "x": 1, "curl": 2} {
		if want := (ftypes.Layer{Digest: blobs[i].Digest.String(), DiffID: results[i].DiffID.String()}); layer[name] != want {
			t.Errorf("%s belongs to %v, want layer %d: %v", name, layer[name], i, want)
		}
	}
	if got, want := d.Layers[2], (ftypes.Layer{Size: results[2].Size, Digest: blobs[2].Digest.String(), DiffID: results[2].DiffID.String(), CreatedBy: "apt-get install curl"}); got != want {
		t.Errorf("layer 3 is %+v, want %+v", got, want)
	}
}

func TestPackagesWithFilesOfTheirOwnAreOneApplication(t *testing.T) {
	d := merged(t, []file{npm("app", "x", "1"), npm("opt", "y", "1"), {path: "a.jar", content: zipOf(t, "META-INF/maven/a/b/pom.properties", pomLog4j)}})
	var got []string
	for _, app := range d.Applications {
		for _, p := range app.Packages {
			got = append(got, string(app.Type)+" "+app.FilePath+" "+p.FilePath)
		}
	}
	want := []string{"jar  a.jar", "node-pkg  app/node_modules/x/package.json", "node-pkg  opt/node_modules/y/package.json"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("applications (-want +got):\n%s", diff)
	}
}

func TestProblemsLastAsLongAsTheirFile(t *testing.T) {
	broken := file{path: "app/a.jar", content: "no zip"}
	plain := file{path: "app/a.jar", content: zipOf(t, "A.class", "x")}
	for _, tc := range []struct {
		name                   string
		layers                 [][]file
		problems, unidentified int
	}{
		{"untouched", [][]file{{broken}, {npm("opt", "x", "1")}}, 1, 0},
		{"deleted", [][]file{{broken}, {{path: "app/.wh.a.jar"}}}, 0, 0},
		{"with its directory", [][]file{{broken}, {{path: "app/.wh..wh..opq"}}}, 0, 0},
		{"replaced by a good one", [][]file{{broken}, {{path: "app/a.jar", content: zipOf(t, "META-INF/maven/a/b/pom.properties", pomLog4j)}}}, 0, 0},
		{"replaced by an unidentified one", [][]file{{broken}, {plain}}, 0, 1},
		{"replaced by another bad one", [][]file{{plain}, {broken}}, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := merged(t, tc.layers...)
			if len(d.Problems) != tc.problems || len(d.Unidentified) != tc.unidentified {
				t.Errorf("problems %v, unidentified %v; want %d and %d", d.Problems, d.Unidentified, tc.problems, tc.unidentified)
			}
		})
	}
}

func TestMergeRefusesLayersThatAreNotTheImages(t *testing.T) {
	results, config := resultsOf(t, []file{npm("app", "x", "1")}, []file{npm("app", "y", "1")})
	old := *results[0]
	old.Version = Version - 1
	for _, tc := range []struct {
		name   string
		layers []*Result
		blobs  []v1.Descriptor
	}{
		{"one missing", results[:1], nil},
		{"in another order", []*Result{results[1], results[0]}, nil},
		{"by another version", []*Result{&old, results[1]}, nil},
		{"with another manifest", results, make([]v1.Descriptor, 3)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d, err := Merge(tc.layers, config, tc.blobs); err == nil {
				t.Errorf("Merge returned %v and no error", d)
			}
		})
	}
}
