package analysis

import (
	"cmp"
	"context"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/java/jar"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/steps/scan/javaindex"
	"github.com/imagewright/imagewright/test/database"
)

// newIndex makes a real index of archives and opens it.
func newIndex(t testing.TB, archives ...database.JavaArchive) *javaindex.Index {
	t.Helper()
	dir := t.TempDir()
	if err := database.WriteJava(dir, database.JavaOptions{Archives: archives}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "trivy-java.db"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := javaindex.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { index.Close() })
	return index
}

func sha1Of(content string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(content))) }

func pomOf(group, artifact, version string) string {
	return "#Created by Maven\ngroupId=" + group + "\nartifactId=" + artifact + "\nversion=" + version + "\n"
}

// trivyIndex lets Trivy's parser ask our index.
type trivyIndex struct {
	ctx   context.Context
	index *javaindex.Index
}

func (x trivyIndex) Exists(group, artifact string) (bool, error) {
	return x.index.Exists(x.ctx, group, artifact)
}

func (x trivyIndex) SearchBySHA1(sum string) (jar.Properties, error) {
	a, err := x.index.SearchBySHA1(x.ctx, sum)
	if err == nil && a.ArtifactID == "" {
		err = jar.ArtifactNotFoundErr
	}
	return jar.Properties{GroupID: a.GroupID, ArtifactID: a.ArtifactID, Version: a.Version}, err
}

func (x trivyIndex) SearchByArtifactID(artifact, version string) (string, error) {
	group, err := x.index.SearchByArtifactID(x.ctx, artifact, version)
	if err == nil && group == "" {
		err = jar.ArtifactNotFoundErr
	}
	return group, err
}

// javaCase is an archive and what an index knows of it.
type javaCase struct {
	name, path, content string
	index               []database.JavaArchive
	want                []string // "name@version file"
}

func javaCases(t *testing.T) []javaCase {
	entry := func(group, artifact, version, content string) database.JavaArchive {
		return database.JavaArchive{GroupID: group, ArtifactID: artifact, Version: version, SHA1: sha1Of(content)}
	}
	const pom, mf = "META-INF/maven/g/a/pom.properties", "META-INF/MANIFEST.MF"
	classes := zipOf(t, "A.class", "x")
	other := zipOf(t, "B.class", "y")
	titled := zipOf(t, mf, "Manifest-Version: 1.0\r\nImplementation-Vendor-Id: org.acme\r\nImplementation-Title: tool\r\nImplementation-Version: 3.1\r\n", "A.class", "x")
	renamed := zipOf(t, pom, pomOf("g", "a", "1.0"), "A.class", "x")
	inner := zipOf(t, mf, "Bundle-SymbolicName: com.acme.core.codec\nBundle-Name: codec\nBundle-Version: 2.0\n", "C.class", "z")
	return []javaCase{
		{"pom.properties", "a-1.0.jar", zipOf(t, pom, pomOf("g", "a", "1.0")), nil, []string{"g:a@1.0 a-1.0.jar"}},
		{"pom.properties without a version", "x.jar", zipOf(t, pom, "groupId=g\nartifactId=a\n"), nil, nil},
		{"a file of another name, which the index does not know", "app.jar", renamed, nil, []string{"g:a@1.0 app.jar"}},
		{"a file of another name, which the index knows", "app.jar", renamed,
			[]database.JavaArchive{entry("h", "b", "9", renamed)}, []string{"g:a@1.0 app.jar", "h:b@9 app.jar"}},
		{"a file of another name, which the index knows by another text of the version", "app.jar", renamed,
			[]database.JavaArchive{entry("g", "a", "1.0.0", renamed)}, []string{"g:a@1.0 app.jar"}},
		{"a manifest the index confirms, in any version", "tool.jar", titled,
			[]database.JavaArchive{entry("org.acme", "tool", "1.0", "?"), entry("h", "b", "9", titled)}, []string{"org.acme:tool@3.1 tool.jar"}},
		{"a manifest the index does not confirm", "tool.jar", titled, []database.JavaArchive{entry("h", "b", "9", titled)}, []string{"h:b@9 tool.jar"}},
		{"a digest before the file's name", "b-1.0.jar", classes,
			[]database.JavaArchive{entry("h", "c", "2.0", classes), entry("h", "b", "1.0", "?")}, []string{"h:c@2.0 b-1.0.jar"}},
		{"the file's name, of the group with most archives", "b-1.0.jar", classes, []database.JavaArchive{
			entry("few", "b", "1.0", "1"), entry("most", "b", "1.0", "2"), entry("most", "b", "1.1", "3"), entry("none", "b", "1.1", "4"), entry("none", "b", "1.2", "5"), entry("none", "b", "1.3", "6"),
		}, []string{"most:b@1.0 b-1.0.jar"}},
		{"the file's name in a version nobody published", "b-1.0.jar", classes, []database.JavaArchive{entry("h", "b", "1.1", "?")}, nil},
		{"a snapshot", "b-1.0-SNAPSHOT.jar", classes, []database.JavaArchive{entry("h", "b", "1.0-SNAPSHOT", "?")}, []string{"h:b@1.0-SNAPSHOT b-1.0-SNAPSHOT.jar"}},
		{"an Android archive does not make a jar's name", "b-1.0.jar", classes,
			[]database.JavaArchive{{GroupID: "h", ArtifactID: "b", Version: "1.0", SHA1: sha1Of("?"), Type: "aar"}}, nil},
		{"a shaded jar", "all-1.jar", zipOf(t, pom, pomOf("g", "a", "1.0"), "META-INF/maven/g/b/pom.properties", pomOf("g", "b", "2"), "META-INF/maven/g/all/pom.properties", pomOf("g", "all", "1")),
			nil, []string{"g:a@1.0 all-1.jar", "g:b@2 all-1.jar", "g:all@1 all-1.jar"}},
		{"a shaded jar with two versions and one twice", "all.jar", zipOf(t, pom, pomOf("g", "a", "2.17"), "x/pom.properties", pomOf("g", "a", "2.17.0"), "y/pom.properties", pomOf("g", "a", "2.18")),
			nil, []string{"g:a@2.17 all.jar", "g:a@2.18 all.jar"}},
		{"Spring Boot", "srv/app.jar", zipOf(t, mf, "Implementation-Title: app\nImplementation-Version: 0.1\nSpring-Boot-Version: 3.2.0\n",
			"BOOT-INF/lib/b-1.0.jar", classes, "BOOT-INF/lib/codec.jar", inner, "BOOT-INF/lib/a-1.0.jar", zipOf(t, pom, pomOf("g", "a", "1.0")), "BOOT-INF/classes/A.class", "x"),
			[]database.JavaArchive{entry("h", "b", "1.0", "?"), entry("com.acme.core", "codec", "1.0", "??")},
			[]string{"h:b@1.0 srv/app.jar/BOOT-INF/lib/b-1.0.jar", "com.acme.core:codec@2.0 srv/app.jar/BOOT-INF/lib/codec.jar", "g:a@1.0 srv/app.jar/BOOT-INF/lib/a-1.0.jar"}},
		{"three deep", "x.ear", zipOf(t, "web.war", zipOf(t, "WEB-INF/lib/b-1.0.jar", classes, "WEB-INF/classes/A.class", "x"), pom, pomOf("g", "ear", "1")),
			[]database.JavaArchive{entry("h", "b", "1.0", "?"), entry("h", "c", "1.0", classes)},
			[]string{"h:c@1.0 x.ear/web.war/WEB-INF/lib/b-1.0.jar", "g:ear@1 x.ear"}},
		{"one name twice inside", "x.war", zipOf(t, "lib/b.jar", classes, "lib/b.jar", other),
			[]database.JavaArchive{entry("h", "b", "1", classes), entry("h", "b", "1.0", other)}, []string{"h:b@1 x.war/lib/b.jar"}},
		{"an answer before the twin that a pom.properties is", "x.war", zipOf(t, "lib/b.jar", classes, "lib/b.jar", zipOf(t, pom, pomOf("h", "b", "1.0"))),
			[]database.JavaArchive{entry("h", "b", "1", classes)}, []string{"h:b@1 x.war/lib/b.jar"}},
		{"of two manifests the later", "tool.jar", zipOf(t, mf, "Implementation-Vendor-Id: no\nImplementation-Title: no\nImplementation-Version: 1\n", "x/MANIFEST.MF",
			"Specification-Vendor: yes\nSpecification-Title: yes\nSpecification-Version: 2\n"),
			[]database.JavaArchive{entry("no", "no", "1", "1"), entry("yes", "yes", "1", "2")}, []string{"yes:yes@2 tool.jar"}},
		{"a manifest of long lines, other ends of lines and later sections", "tool.jar", zipOf(t, mf,
			"Implementation-Vendor-Id: org.\r acme\rImplementation-Title: to\r ol\rBundle-Name: %name\rImplementation-Version: 3\r .1\r\rName: x\rImplementation-Title: x\r"),
			[]database.JavaArchive{entry("org.acme", "tool", "1", "1")}, []string{"org.acme:tool@3.1 tool.jar"}},
		{"a manifest of variables and values that touch", "tool.jar", zipOf(t, mf, "Implementation-Vendor-Id:touch\nBundle-SymbolicName: a.b\nImplementation-Title: %title\nBundle-Name: b\nBundle-Version: 1\n"),
			[]database.JavaArchive{entry("a", "b", "1", "1")}, []string{"a:b@1 tool.jar"}},
		{"a script before the archive", "app.jar", "#!/bin/sh\nexec java -jar $0\n" + renamed, nil, []string{"g:a@1.0 app.jar"}},
		{"another case outside, but not inside", "App.JAR", zipOf(t, "lib/b.JAR", renamed, "lib/c.par", renamed, "lib/a.jar", renamed), nil, []string{"g:a@1.0 App.JAR/lib/a.jar"}},
		{"licences of Maven, Jenkins and OSGi", "x.war", zipOf(t,
			"META-INF/maven/g/top/pom.xml", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><project><licenses><license><name>Apache License, Version 2.0</name></license><license><name>\xe9</name></license></licenses></project>",
			"META-INF/maven/g/top/pom.properties", pomOf("g", "top", "1"),
			"lib/plugin.jar", zipOf(t, mf, "Plugin-License-Name: MIT License\nPlugin-License-Name-2: BSD\n", pom, pomOf("g", "plugin", "1")),
			"lib/osgi.jar", zipOf(t, mf, "Bundle-License: \"Apache-2.0\";link=\"http://x\",https://opensource.org/licenses/MIT\n", "A.class", "x"),
			"lib/broken.jar", zipOf(t, "META-INF/maven/g/broken/pom.xml", "<project><", pom, pomOf("g", "broken", "1"))),
			[]database.JavaArchive{entry("h", "osgi", "1", zipOf(t, mf, "Bundle-License: \"Apache-2.0\";link=\"http://x\",https://opensource.org/licenses/MIT\n", "A.class", "x"))},
			[]string{"g:top@1 x.war", "g:plugin@1 x.war/lib/plugin.jar", "h:osgi@1 x.war/lib/osgi.jar", "g:broken@1 x.war/lib/broken.jar"}},
	}
}

// Trivy's parser, asking the same index, says what must be found.
func TestJavaArchivesAreReadAsTrivyReadsThem(t *testing.T) {
	for _, tc := range javaCases(t) {
		t.Run(tc.name, func(t *testing.T) {
			index := newIndex(t, append(tc.index, database.JavaArchive{GroupID: "z", ArtifactID: "z", Version: "1", SHA1: sha1Of("z")})...)
			r := analysed(t, Options{}, file{path: tc.path, content: tc.content})
			layers, err := Identify(t.Context(), []*Result{r}, index)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Problems) > 0 || len(layers[0].Questions) > 0 {
				t.Errorf("problems %v, open questions %v", r.Problems, layers[0].Questions)
			}
			var got []string
			var pkgs []ftypes.Package
			for _, app := range layers[0].Applications {
				for _, p := range app.Packages {
					got = append(got, p.Name+"@"+p.Version+" "+p.FilePath)
					pkgs = append(pkgs, ftypes.Package{Name: p.Name, Version: p.Version, FilePath: p.FilePath, Licenses: p.Licenses})
				}
			}
			if diff := gocmp.Diff(tc.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			parser := jar.NewParser(trivyIndex{t.Context(), index}, jar.WithFilePath(tc.path), jar.WithSize(int64(len(tc.content))))
			want, _, err := parser.Parse(t.Context(), strings.NewReader(tc.content))
			if err != nil {
				t.Fatalf("Trivy's parser: %v", err)
			}
			for i := range want {
				want[i].Licenses = licensing.NormalizeLicenses(want[i].Licenses)
			}
			if diff := gocmp.Diff(want, pkgs); diff != "" {
				t.Errorf("packages (-Trivy +ours):\n%s", diff)
			}
		})
	}
}

func TestWhatTheIndexDoesNotKnowStaysUnidentified(t *testing.T) {
	known, unknown := zipOf(t, "A.class", "x"), zipOf(t, "B.class", "x")
	r := analysed(t, Options{},
		file{path: "a.jar", content: known}, file{path: "b.jar", content: unknown},
		file{path: "c.war", content: zipOf(t, "lib/a.jar", known, "lib/b.jar", unknown)},
		file{path: "shaded.jar", content: zipOf(t, "x/pom.properties", pomOf("g", "a", "1"), "A.class", "x")})
	if want := []string{"a.jar", "b.jar", "c.war/lib/a.jar", "c.war/lib/b.jar"}; !slices.Equal(unidentified(r), want) {
		t.Errorf("without an index %v is unidentified, want %v", unidentified(r), want)
	}
	if !NeedsIndex([]*Result{{}, r}) || NeedsIndex([]*Result{{}}) {
		t.Error("a layer with questions needs an index, and one without does not")
	}
	layers, err := Identify(t.Context(), []*Result{r}, newIndex(t, database.JavaArchive{GroupID: "g", ArtifactID: "k", Version: "1", SHA1: sha1Of(known)}))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"b.jar", "c.war/lib/b.jar"}; !slices.Equal(unidentified(layers[0]), want) {
		t.Errorf("with an index %v is unidentified, want %v", unidentified(layers[0]), want)
	}
	if want := []string{"a.jar", "b.jar", "c.war/lib/a.jar", "c.war/lib/b.jar"}; !slices.Equal(unidentified(r), want) || !NeedsIndex([]*Result{r}) {
		t.Error("identifying changed the result it was given, which may be in a cache")
	}
}

func unidentified(r *Result) []string {
	var list []string
	for _, u := range r.Unidentified {
		list = append(list, filepath.Join(u.Path, u.Inside))
	}
	return list
}

// What an archive is decides about layers too, so it is decided before them.
func TestIdentifiedArchivesBelongToTheirLayers(t *testing.T) {
	classes, other := zipOf(t, "A.class", "x"), zipOf(t, "B.class", "y")
	index := newIndex(t,
		database.JavaArchive{GroupID: "g", ArtifactID: "a", Version: "1", SHA1: sha1Of(classes)},
		database.JavaArchive{GroupID: "g", ArtifactID: "b", Version: "1", SHA1: sha1Of(other)})
	jar := func(content string) file { return file{path: "srv/x.jar", content: content} }
	named := zipOf(t, "x/pom.properties", pomOf("g", "a", "1"))
	for _, tc := range []struct {
		name   string
		layers [][]file
		want   string // name and layer
	}{
		{"of the layer that has it", [][]file{{}, {jar(classes)}}, "g:a 1"},
		{"of the first layer that has it", [][]file{{jar(classes)}, {jar(named)}}, "g:a 0"},
		{"replaced by another that is identified", [][]file{{jar(named)}, {jar(other)}}, "g:b 1"},
		// As in Trivy: what hides packages may not be a file that says nothing.
		{"replaced by one that is not", [][]file{{jar(named)}, {jar(zipOf(t, "C.class", "z"))}}, "g:a 0"},
		{"deleted", [][]file{{jar(classes)}, {{path: "srv/.wh.x.jar"}}}, ""},
		{"installed by the distribution", [][]file{{jar(classes), {path: "var/lib/dpkg/status", content: "Package: x\nVersion: 1-1\n"},
			{path: "var/lib/dpkg/info/x.md5sums", content: "0  srv/x.jar\n"}}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			results, config := resultsOf(t, tc.layers...)
			results, err := Identify(t.Context(), results, index)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Merge(results, config, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, app := range d.Applications {
				for _, p := range app.Packages {
					i := slices.IndexFunc(results, func(r *Result) bool { return r.DiffID.String() == p.Layer.DiffID })
					got = append(got, fmt.Sprintf("%s %d", p.Name, i))
				}
			}
			slices.SortFunc(got, cmp.Compare)
			if strings.Join(got, ", ") != tc.want {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}
