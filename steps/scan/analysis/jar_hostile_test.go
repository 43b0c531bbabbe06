package analysis

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/test/database"
)

// relied patches the directory's entry of name: what stands offset bytes after
// its signature becomes value.
func relied(t *testing.T, archive, name string, offset int, value uint32) string {
	t.Helper()
	data := []byte(archive)
	for at := 0; ; at += 4 {
		i := bytes.Index(data[at:], []byte("PK\x01\x02"))
		if i < 0 {
			t.Fatalf("no entry %s", name)
		}
		if at += i; string(data[at+46:at+46+len(name)]) == name {
			binary.LittleEndian.PutUint32(data[at+offset:], value)
			return string(data)
		}
	}
}

// Where the directory has an entry's checksum and its length unpacked.
const (
	offsetChecksum = 16
	offsetLength   = 24
)

// directoryOf is an archive of nothing but a directory of count entries with
// names of length bytes, whose end claims to have claimed.
func directoryOf(count, length int, claimed uint64) []byte {
	entry := make([]byte, 46+length)
	copy(entry, "PK\x01\x02")
	binary.LittleEndian.PutUint16(entry[28:], uint16(length))
	data := bytes.Repeat(entry, count)
	return append(data, directoryEnd(uint64(len(data)), claimed)...)
}

// directoryEnd is what stands after a directory of size bytes: the zip64 end,
// where that is, and the end.
func directoryEnd(size, claimed uint64) []byte {
	end := make([]byte, 56+20+22)
	copy(end, "PK\x06\x06")
	binary.LittleEndian.PutUint64(end[4:], 44)
	binary.LittleEndian.PutUint64(end[24:], claimed)
	binary.LittleEndian.PutUint64(end[32:], claimed)
	binary.LittleEndian.PutUint64(end[40:], size)
	copy(end[56:], "PK\x06\x07")
	binary.LittleEndian.PutUint64(end[56+8:], size)
	binary.LittleEndian.PutUint32(end[56+16:], 1)
	copy(end[76:], "PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	return end
}

func TestHostileJavaArchivesAreProblems(t *testing.T) {
	const pom = "META-INF/maven/g/a/pom.properties"
	named := zipOf(t, pom, pomOf("g", "a", "1"))
	many := make([]string, 0, 2*(maxInside+1))
	for range maxInside + 1 {
		many = append(many, filePom, "")
	}
	twoBombs := zipOf(t, "a.jar", strings.Repeat("\x00", smallArchive/2+1), "b.jar", strings.Repeat("\x00", smallArchive/2+1))
	for _, tc := range []struct {
		name, content string
		inside        string
		reason        string // part of it
	}{
		{"one archive that unpacks to more than the ratio", bomb(t, "a.jar", smallArchive+1), "a.jar", "100 times the archive's own size"},
		{"two that do together", twoBombs, "b.jar", "67108864 bytes"},
		{"two that do one in the other", zipOf(t, "x.jar", twoBombs), "x.jar/b.jar", "67108864 bytes"},
		{"an entry shorter than the directory says", zipOf(t, "lib/a.jar", relied(t, named, pom, offsetLength, 1000)), "lib/a.jar", "unexpected EOF"},
		{"an entry longer than the directory says", relied(t, named, pom, offsetLength, 3), "", "not a valid zip file"},
		{"an entry of another checksum", relied(t, named, pom, offsetChecksum, 7), "", "checksum"},
		{"an archive shorter than the directory says", relied(t, zipOf(t, "a.jar", named), "a.jar", offsetLength, 1<<20), "a.jar", "unexpected EOF"},
		{"an archive longer than the directory says", relied(t, zipOf(t, "a.jar", named), "a.jar", offsetLength, 3), "a.jar", "directory says"},
		{"an archive that is not empty, as the directory says", relied(t, zipOf(t, "a.jar", named), "a.jar", offsetLength, 0), "a.jar", "directory says"},
		{"an archive of another checksum", relied(t, zipOf(t, "a.jar", named), "a.jar", offsetChecksum, 7), "a.jar", "checksum"},
		{"a length that no file has", relied(t, zipOf(t, "a.jar", named), "a.jar", offsetLength, 1<<32-1), "a.jar", "unpacks to more than"},
		{"too many files to look into", zipOf(t, many...), "", "more than 50000 archives"},
		{"a version without end", zipOf(t, pom, pomOf("g", "a", strings.Repeat("1-", maxCoordinate))), "", "version has more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{TempDir: t.TempDir()}, file{path: "srv/x.jar", content: tc.content})
			if !slices.ContainsFunc(r.Problems, func(p Problem) bool {
				return p.Path == "srv/x.jar" && p.Inside == tc.inside && strings.Contains(p.Reason, tc.reason)
			}) {
				t.Errorf("problems %v; want one in %q with %q", r.Problems, tc.inside, tc.reason)
			}
		})
	}
}

func TestHostileDirectoriesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name      string
		directory []byte
		want      string
	}{
		{"too many entries", directoryOf(maxEntries+1, 1, maxEntries+1), "more than 500000 entries"},
		{"too many entries, said to be few", directoryOf(maxEntries+100_000, 0, 5), "more than 500000 entries"},
		{"few entries, said to be many", directoryOf(5, 1, 1<<40), "more than 500000 entries"},
		{"long names", directoryOf(1200, 60_000, 1200), "directory has more than 67108864 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, _, err := openArchive(contentOf(tc.directory)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("openArchive: %v; want an error with %q", err, tc.want)
			}
		})
	}
}

// An archive of 2 GiB that says it has 70 million entries gets no room for them,
// and one of many entries leaves only what describes it.
func TestADirectoryTakesBoundedMemory(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/sparse.jar")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 2 << 30
	end := directoryEnd(0, size/31)
	if _, err := f.WriteAt(end, size-int64(len(end))); err != nil {
		t.Fatal(err)
	}
	before := allocated()
	if _, _, err := openArchive(&content{f, size, f.Close}); err == nil {
		t.Error("70 million entries are none too many")
	}
	if got := allocated() - before; got > 10<<20 {
		t.Errorf("%d bytes were allocated for a claim", got)
	}

	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	const entries = 70_000 // more than 65,535: zip64
	for i := range entries {
		if _, err := w.Create(fmt.Sprintf("org/acme/Class%d.class", i)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := w.Create("META-INF/maven/g/a/pom.properties")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte(pomOf("g", "a", "1"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := found(analysed(t, Options{}, file{path: "a-1.jar", content: buf.String()})); len(got) != 1 || got[0] != "jar a-1.jar g:a@1" {
		t.Errorf("in an archive of %d entries: %v", entries, got)
	}
	zr, code, err := openArchive(contentOf(buf.Bytes()))
	if err != nil || !code {
		t.Fatalf("classes: %v, %v", code, err)
	}
	if len(zr.File) != 1 || cap(zr.File) > 1000 {
		t.Errorf("of %d entries %d are kept (room for %d), want 1", entries, len(zr.File), cap(zr.File))
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestVersionsOfOnePackageAreComparedInBoundedTime(t *testing.T) {
	var entries []string
	for i := range 2000 {
		entries = append(entries, fmt.Sprintf("%d/pom.properties", i), pomOf("g", "a", fmt.Sprint(i, "-", i, "-x")))
	}
	if got := found(analysed(t, Options{}, file{path: "a.jar", content: zipOf(t, entries...)})); len(got) != 2000 {
		t.Errorf("%d packages of 2000 are found", len(got))
	}
}

// FuzzJar: whatever the bytes are, looking into them ends, and what it asks can
// be answered.
func FuzzJar(f *testing.F) {
	archive := func(namesAndContents ...string) []byte {
		var buf bytes.Buffer
		w := zip.NewWriter(&buf)
		for i := 0; i < len(namesAndContents); i += 2 {
			e, err := w.Create(namesAndContents[i])
			if err != nil {
				f.Fatal(err)
			}
			if _, err := e.Write([]byte(namesAndContents[i+1])); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		return buf.Bytes()
	}
	inner := archive("META-INF/MANIFEST.MF", "Implementation-Vendor-Id: g\nImplementation-Title: a\nImplementation-Version: 1\nBundle-License: MIT;link=\"x\",\"\\\n", "A.class", "x")
	f.Add("a-1.0.jar", inner)
	f.Add("x.war", archive("WEB-INF/lib/b-1.0.jar", string(inner), "lib/b.jar", string(inner), "META-INF/maven/g/a/pom.properties", pomOf("g", "a", "1"),
		"META-INF/maven/g/a/pom.xml", "<project><licenses><license><name>MIT</name></license></licenses></project>"))
	f.Add("a.jar", directoryOf(3, 1, 3))
	f.Add("a.jar", []byte("no zip"))

	dir := f.TempDir()
	index := newIndex(f, database.JavaArchive{GroupID: "g", ArtifactID: "a", Version: "2", SHA1: sha1Of("x")},
		database.JavaArchive{GroupID: "h", ArtifactID: "b", Version: "1.0", SHA1: sha1Of(string(inner))})
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		l := newLayer(t.Context(), Options{MaxArchive: 1 << 20, TempDir: dir})
		_ = l.javaArchive(t.Context(), name, contentOf(data))
		for _, q := range l.result.Questions {
			if q.At < 0 || q.Path != name || len(q.SHA1) != 40 {
				t.Errorf("question %+v", q)
			}
		}
		if _, err := Identify(t.Context(), []*Result{&l.result}, index); err != nil {
			t.Error(err)
		}
	})
}
