package analysis

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// file is an entry of a test layer. A path that ends in a slash is a directory.
type file struct {
	path, content string
	mode          int64
	link          string // symbolic link's target
}

// layerTar makes the tar of a layer.
func layerTar(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if f.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if strings.HasSuffix(f.path, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func input(data []byte) Input {
	return Input{DiffID: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}, Tar: bytes.NewReader(data)}
}

// analysed runs Layer over a layer of files, and over JSON, which a result must
// survive.
func analysed(t *testing.T, opts Options, files ...file) *Result {
	t.Helper()
	r, err := Layer(t.Context(), input(layerTar(t, files...)), opts)
	if err != nil {
		t.Fatalf("Layer: %v", err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatalf("marshal result: %v", err)
	}
	var again Result
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatalf("unmarshal result: %v", err)
	}
	if diff := cmp.Diff(*r, again, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the result changes on its way through JSON (-before +after):\n%s", diff)
	}
	return r
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// zipOf makes an archive; contents alternate with names.
func zipOf(t *testing.T, namesAndContents ...string) string {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for i := 0; i < len(namesAndContents); i += 2 {
		f, err := w.Create(namesAndContents[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(namesAndContents[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// found lists what a result holds as "type path name version", sorted.
func found(r *Result) []string {
	var list []string
	for _, info := range r.Packages {
		for _, p := range info.Packages {
			list = append(list, "os "+info.FilePath+" "+p.ID)
		}
	}
	for _, app := range r.Applications {
		for _, p := range app.Packages {
			list = append(list, fmt.Sprintf("%s %s %s@%s", app.Type, app.FilePath, p.Name, p.Version))
		}
	}
	slices.Sort(list)
	return list
}

const (
	pomLog4j = "version=2.14.1\ngroupId=org.apache.logging.log4j\nartifactId=log4j-core\n"
	requests = "Metadata-Version: 2.1\nName: requests\nVersion: 2.19.1\nSummary: Python HTTP for Humans.\nLicense: Apache 2.0\n\n"
)

func TestLayerFinds(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files []file
		want  []string
	}{
		{"installed packages of dpkg, not those only configured", []file{{path: "var/lib/dpkg/status", content: testdata(t, "dpkg-status")}}, []string{
			"os var/lib/dpkg/status gcc-12-base@12.2.0-14",
			"os var/lib/dpkg/status libc6@2.36-9+deb12u1",
			"os var/lib/dpkg/status libgcc-s1@12.2.0-14",
			"os var/lib/dpkg/status nodejs@18.17.1-1nodesource1",
			"os var/lib/dpkg/status zlib1g@1:1.2.13.dfsg-1",
		}},
		{"distroless status files", []file{
			{path: "./var/lib/dpkg/status.d/base-files", content: "Package: base-files\nVersion: 12.4+deb12u5\nArchitecture: amd64\n"},
			{path: "./var/lib/dpkg/status.d/base-files.md5sums", content: "7de2d0d0c2d5d9ae5a2a0a0c4a5b6c7d  etc/debian_version\n"},
		}, []string{"os var/lib/dpkg/status.d/base-files base-files@12.4+deb12u5"}},
		{"a paragraph after two empty lines", []file{{path: "var/lib/dpkg/status", content: "Package: a\nVersion: 1\n\n\n\nPackage: b\nVersion: 2\n"}},
			[]string{"os var/lib/dpkg/status a@1", "os var/lib/dpkg/status b@2"}},
		{"apk packages", []file{{path: "lib/apk/db/installed", content: testdata(t, "apk-installed")}},
			[]string{"os lib/apk/db/installed libcrypto1.1@1.1.1l-r7", "os lib/apk/db/installed musl@1.2.2-r7"}},
		{"npm packages with name and version", []file{
			{path: "app/node_modules/lodash/package.json", content: `{"name":"lodash","version":"4.17.20","license":"MIT"}`},
			{path: "app/package.json", content: `{"name":"app","dependencies":{"lodash":"^4"}}`},
		}, []string{"node-pkg app/node_modules/lodash/package.json lodash@4.17.20"}},
		{"wheels, eggs and zipped eggs", []file{
			{path: "usr/local/lib/python3.11/site-packages/requests-2.19.1.dist-info/METADATA", content: requests},
			{path: "usr/local/lib/python3.11/site-packages/a.egg-info/PKG-INFO", content: "Metadata-Version: 1.1\nName: a\nVersion: 1\n"},
			{path: "opt/b-2-py3.11.egg", content: zipOf(t, "b/__init__.py", "", "EGG-INFO/PKG-INFO", "Metadata-Version: 1.1\nName: b\nVersion: 2\n")},
		}, []string{
			"python-pkg opt/b-2-py3.11.egg b@2",
			"python-pkg usr/local/lib/python3.11/site-packages/a.egg-info/PKG-INFO a@1",
			"python-pkg usr/local/lib/python3.11/site-packages/requests-2.19.1.dist-info/METADATA requests@2.19.1",
		}},
		{"Java archives, and those inside", []file{{path: "srv/app.war", content: zipOf(t,
			"WEB-INF/lib/log4j-core-2.14.1.jar", zipOf(t, "META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", pomLog4j, "A.class", "x"),
			"META-INF/maven/com.example/app/pom.properties", "groupId=com.example\nartifactId=app\nversion=1.0\n")}},
			[]string{"jar srv/app.war com.example:app@1.0", "jar srv/app.war org.apache.logging.log4j:log4j-core@2.14.1"}},
		{"nothing behind links", []file{{path: "app/package.json", link: "/elsewhere"}, {path: "etc/debian_version", link: "x"}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, tc.files...)
			if diff := cmp.Diff(tc.want, found(r)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if len(r.Problems) > 0 {
				t.Errorf("problems with good files: %v", r.Problems)
			}
		})
	}
}

func TestLayerReadsAllOfADpkgPackage(t *testing.T) {
	r := analysed(t, Options{},
		file{path: "var/lib/dpkg/info/libc6:amd64.md5sums", content: "1a5d1a2b3c4d5e6f708192a3b4c5d6e7  lib/x86_64-linux-gnu/libc.so.6\n"},
		file{path: "var/lib/dpkg/status", content: testdata(t, "dpkg-status")},
		file{path: "var/lib/dpkg/available", content: "Package: libc6\nVersion: 2.36-9+deb12u1\nSHA256: " + strings.Repeat("ab", 32) + "\n"},
	)
	i := slices.IndexFunc(r.Packages[0].Packages, func(p ftypes.Package) bool { return p.Name == "libc6" })
	want := ftypes.Package{
		ID: "libc6@2.36-9+deb12u1", Name: "libc6", Version: "2.36", Release: "9+deb12u1", Arch: "amd64",
		SrcName: "glibc", SrcVersion: "2.36", SrcRelease: "9+deb12u1",
		Maintainer:     "GNU Libc Maintainers <debian-glibc@lists.debian.org>",
		Repository:     ftypes.PackageRepository{Class: ftypes.RepositoryClassOfficial},
		DependsOn:      []string{"libgcc-s1@12.2.0-14"},
		Digest:         "sha256:" + "abababababababababababababababababababababababababababababababab",
		InstalledFiles: []string{"/lib/x86_64-linux-gnu/libc.so.6"},
		AnalyzedBy:     "dpkg",
	}
	if diff := cmp.Diff(want, r.Packages[0].Packages[i]); diff != "" {
		t.Errorf("libc6 (-want +got):\n%s", diff)
	}
}

func TestLayerReadsAllOfAnApkPackage(t *testing.T) {
	r := analysed(t, Options{}, file{path: "lib/apk/db/installed", content: testdata(t, "apk-installed")},
		file{path: "etc/apk/repositories", content: "https://dl-cdn.alpinelinux.org/alpine/v3.15/main\nhttps://dl-cdn.alpinelinux.org/alpine/v3.15/community\n"})
	want := ftypes.Package{
		ID: "libcrypto1.1@1.1.1l-r7", Name: "libcrypto1.1", Version: "1.1.1l-r7", Arch: "x86_64",
		SrcName: "openssl", SrcVersion: "1.1.1l-r7", Licenses: []string{"OpenSSL"},
		Maintainer: "Timo Teras <timo.teras@iki.fi>", DependsOn: []string{"musl@1.2.2-r7"},
		InstalledFiles: []string{"lib/libcrypto.so.1.1"}, AnalyzedBy: "apk",
	}
	if diff := cmp.Diff(want, r.Packages[0].Packages[0]); diff != "" {
		t.Errorf("libcrypto1.1 (-want +got):\n%s", diff)
	}
	if got := r.Packages[0].Packages[1].Digest; got != "sha1:bfca1318e0e7ab208acb1144194177b552bbbc72" {
		t.Errorf("musl: digest %q", got)
	}
	if diff := cmp.Diff(&ftypes.Repository{Family: "alpine", Release: "3.15"}, r.Repository); diff != "" {
		t.Errorf("repository (-want +got):\n%s", diff)
	}
}

func TestLayerReadsTheModulesOfAGoProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./testdata/program")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := analysed(t, Options{},
		file{path: "usr/bin/app", content: string(program), mode: 0o755},
		file{path: "usr/bin/data", content: string(program), mode: 0o644},
		file{path: "usr/bin/cut", content: string(program[:100]), mode: 0o755},
		file{path: "usr/bin/script", content: "#!/bin/sh\n", mode: 0o755},
		file{path: "usr/bin/s", content: "#", mode: 0o755},
	)
	if len(r.Applications) != 1 || r.Applications[0].FilePath != "usr/bin/app" || len(r.Problems) > 0 {
		t.Fatalf("found %v, problems %v; want the program alone", found(r), r.Problems)
	}
	versions := map[string]string{}
	for _, p := range r.Applications[0].Packages {
		versions[p.Name] = p.Version
	}
	if want := "v" + strings.TrimPrefix(strings.Split(runtime.Version(), "-")[0], "go"); versions["stdlib"] != want {
		t.Errorf("stdlib is %q, want %q", versions["stdlib"], want)
	}
	if v := versions["github.com/Masterminds/semver/v3"]; !strings.HasPrefix(v, "v3.") {
		t.Errorf("semver is %q among %v", v, versions)
	}
}

// A program too large for memory goes through a temporary file, of which
// nothing is left.
func TestLargeFilesLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	r := analysed(t, Options{TempDir: dir}, file{path: "bin/a", content: "\x7fELF" + strings.Repeat("\x00", maxInMemory), mode: 0o755})
	if len(r.Parsed) != 1 {
		t.Errorf("parsed %v", r.Parsed)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v (%v)", left, err)
	}
}

// The distribution's own files are known by the distribution's package alone;
// a stranger's package hides nothing.
func TestLayerLeavesInstalledFilesToTheirPackage(t *testing.T) {
	const egg = "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO"
	npm := file{path: "usr/lib/node_modules/npm/package.json", content: `{"name":"npm","version":"9.6.7"}`}
	r := analysed(t, Options{},
		file{path: egg, content: "Metadata-Version: 1.1\nName: six\nVersion: 1.16.0\n"},
		npm,
		file{path: "usr/share/java/broken.jar", content: "no zip"},
		file{path: "usr/share/java/plain.jar", content: zipOf(t, "A.class", "x")},
		file{path: "var/lib/dpkg/status", content: testdata(t, "dpkg-status")},
		file{path: "var/lib/dpkg/info/libc6.md5sums", content: "0  " + egg + "\n0  usr/share/java/broken.jar\n0  usr/share/java/plain.jar\n0  var/lib/rpm/rpmdb.sqlite\n"},
		file{path: "var/lib/dpkg/info/nodejs.md5sums", content: "0  " + npm.path + "\n"},
		file{path: "var/lib/rpm/rpmdb.sqlite", content: "x"},
	)
	r.Packages = nil
	if diff := cmp.Diff([]string{"node-pkg usr/lib/node_modules/npm/package.json npm@9.6.7"}, found(r)); diff != "" {
		t.Errorf("applications (-want +got):\n%s", diff)
	}
	if len(r.Problems) != 1 || r.Problems[0].Analyzer != nameRpm || len(r.Unidentified) > 0 {
		t.Errorf("problems %v, unidentified %v; want none for files of a package but the database of packages", r.Problems, r.Unidentified)
	}
}
