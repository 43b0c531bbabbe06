package analysis

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A parser that gives up must be heard: what it did not read may be vulnerable.
func TestWhatCannotBeReadIsAProblem(t *testing.T) {
	small := Options{MaxFile: 1000, MaxExecutable: 1000, MaxArchive: 4000}
	deep := zipOf(t, "A.class", "x")
	for range maxNesting + 1 {
		deep = zipOf(t, "lib/x.jar", deep)
	}
	for _, tc := range []struct {
		name     string
		opts     Options
		file     file
		analyzer string
		reason   string // part of it
		inside   string
	}{
		{"a paragraph that is none", Options{}, file{path: "var/lib/dpkg/status", content: "Package: a\nVersion: 1\n\nno colon\n"}, "dpkg", `paragraph "no colon"`, ""},
		{"a paragraph that hides another", Options{}, file{path: "var/lib/dpkg/status", content: "Package: a\r\nVersion: 1-1\r\n\r\nPackage: b\r\nVersion: 1-1\r\n"}, "dpkg", "goes on after an empty line", ""},
		{"a version that is none", Options{}, file{path: "var/lib/dpkg/status", content: "Package: a\nVersion: -\n"}, "dpkg", "package a", ""},
		{"an apk version that is none", Options{}, file{path: "lib/apk/db/installed", content: "P:a\nV:?\n\n"}, "apk", "package a", ""},
		{"an rpm database cut short", Options{}, file{path: "var/lib/rpm/rpmdb.sqlite", content: "SQLite format 3"}, "rpm", "cut short", ""},
		{"an rpm manifest of another form", Options{}, file{path: rpmManifest, content: "a 1\n"}, "rpmqa", `line "a 1`, ""},
		{"content sets that are no JSON", Options{}, file{path: "root/buildinfo/content_manifests/a.json", content: "x"}, "redhat-content-manifest", "invalid", ""},
		{"an inventory of Bottlerocket that is no JSON", Options{}, file{path: bottlerocketInventory, content: "x"}, "bottlerocket-inventory", "invalid", ""},
		{"JSON that is none", Options{}, file{path: "app/node_modules/a/package.json", content: "{"}, "node-pkg", "JSON", ""},
		{"a parser that panics", Options{}, file{path: "app/package.json", content: `{"name":"a","version":"1","workspaces":[1]}`}, "node-pkg", "broke off", ""},
		{"Python without a version", Options{}, file{path: "x.dist-info/METADATA", content: "Name: x\n"}, "python-pkg", "version", ""},
		{"an egg that is no zip", Options{}, file{path: "x.egg", content: "no zip"}, "python-egg", "zip", ""},
		{"a jar that is no zip", Options{}, file{path: "x.jar", content: "no zip"}, "jar", "zip", ""},
		{"a jar inside that is no zip", Options{}, file{path: "x.war", content: zipOf(t, "lib/y.jar", "no zip")}, "jar", "zip", "lib/y.jar"},
		{"a jar inside that climbs out", Options{}, file{path: "x.war", content: zipOf(t, "../../y.jar", "no zip")}, "jar", "leaves the archive", "../y.jar"},
		{"jars without end", Options{}, file{path: "x.jar", content: deep}, "jar", "deep", strings.Repeat("lib/x.jar/", maxNesting) + "lib/x.jar"},
		{"a bomb of a manifest", Options{}, file{path: "x.jar", content: bomb(t, "META-INF/MANIFEST.MF", maxMetadata+1)}, "jar", "too large", ""},
		{"a bomb of a jar", small, file{path: "x.jar", content: bomb(t, "y.jar", 1<<20)}, "jar", "too large", "y.jar"},
		{"a file too large", small, file{path: "var/lib/dpkg/status", content: strings.Repeat("Package: a\n", 100)}, "dpkg", "too large", ""},
		{"a program too large", small, file{path: "bin/a", content: "\x7fELF" + strings.Repeat("x", 1000), mode: 0o755}, "gobinary", "too large", ""},
		{"an archive too large", small, file{path: "a.jar", content: strings.Repeat("x", 4001)}, "jar", "too large", ""},
		{"Ubuntu Pro's status that is no JSON", Options{}, file{path: esmStatus, content: "{"}, "os-release", "Ubuntu Pro", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, tc.opts, tc.file)
			if len(r.Problems) != 1 {
				t.Fatalf("problems %v; want one", r.Problems)
			}
			p := r.Problems[0]
			if p.Path != tc.file.path || p.Analyzer != tc.analyzer || !strings.Contains(p.Reason, tc.reason) {
				t.Errorf("problem %q; want one of %s with %s about %q", p, tc.analyzer, tc.file.path, tc.reason)
			}
			if p.Inside != tc.inside {
				t.Errorf("problem is inside at %q, want %q", p.Inside, tc.inside)
			}
			if len(p.Reason) > maxReason+len("…") {
				t.Errorf("the reason is %d bytes long", len(p.Reason))
			}
		})
	}
}

// What can be read of a damaged file still counts.
func TestGoodParagraphsOfABadFileCount(t *testing.T) {
	r := analysed(t, Options{}, file{path: "var/lib/dpkg/status", content: "Package: a\nVersion: 1\n\nno colon\n\nPackage: b\nVersion: 2\n"})
	if diff := cmp.Diff([]string{"os var/lib/dpkg/status a@1", "os var/lib/dpkg/status b@2"}, found(r)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// npm reads no package.json there, so nothing is lost.
func TestBrokenTestdataOfAnNpmPackageIsNoProblem(t *testing.T) {
	r := analysed(t, Options{}, file{path: "app/node_modules/resolve/test/resolver/malformed_package_json/package.json", content: "{"})
	if len(r.Problems) > 0 {
		t.Errorf("problems: %v", r.Problems)
	}
}

func TestJarsThatNothingIdentifiesAreListed(t *testing.T) {
	plain := zipOf(t, "com/example/A.class", "x", "META-INF/MANIFEST.MF", "Implementation-Title: a\nImplementation-Version: 1\nImplementation-Vendor-Id: com.example\n")
	r := analysed(t, Options{},
		file{path: "srv/known.jar", content: zipOf(t, "META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", pomLog4j)},
		file{path: "srv/plain-1.0.jar", content: plain},
		file{path: "srv/bundle.ear", content: zipOf(t, "lib/plain.jar", plain)}, // itself only a container
	)
	const sum = "sha1 of plain"
	got := r.Unidentified
	for i := range got {
		if len(got[i].SHA1) == 40 {
			got[i].SHA1 = sum
		}
	}
	want := []Unidentified{{Path: "srv/plain-1.0.jar", SHA1: sum}, {Path: "srv/bundle.ear", Inside: "lib/plain.jar", SHA1: sum}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unidentified (-want +got):\n%s", diff)
	}
}

func TestALayerThatIsNotAllThereIsAnError(t *testing.T) {
	data := layerTar(t, file{path: "a", content: strings.Repeat("a", 512)}, file{path: "b", content: strings.Repeat("b", 512)})
	whole := input(data)
	if _, err := Layer(t.Context(), whole, Options{}); err != nil {
		t.Fatalf("the whole layer: %v", err)
	}
	for _, tc := range []struct {
		name string
		size int
	}{
		{"in the middle of a file", 700},
		{"in the middle of a header", 1100},
		{"between two entries, where a tar reader sees an end", 1024},
		{"in its end mark", len(data) - 100},
		{"at its start", 0},
	} {
		t.Run("cut "+tc.name, func(t *testing.T) {
			cut := Input{DiffID: whole.DiffID, Tar: bytes.NewReader(data[:tc.size])}
			if r, err := Layer(t.Context(), cut, Options{}); err == nil {
				t.Errorf("Layer returned %+v and no error", r)
			}
		})
	}
	t.Run("replaced", func(t *testing.T) {
		other := Input{DiffID: whole.DiffID, Tar: bytes.NewReader(layerTar(t, file{path: "a"}))}
		var wrong *digestError
		if _, err := Layer(t.Context(), other, Options{}); !errors.As(err, &wrong) {
			t.Errorf("Layer: %v; want a digestError", err)
		}
	})
}

// bomb makes an archive with one file of size zeros.
func bomb(t *testing.T, name string, size int64) string {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
