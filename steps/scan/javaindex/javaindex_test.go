package javaindex

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aquasecurity/trivy-java-db/pkg/db"
	javatypes "github.com/aquasecurity/trivy-java-db/pkg/types"

	"github.com/imagewright/imagewright/test/database"
)

const log4j = "9141212b8507ab50a45525b545b39d224614528b"

// written makes a real index and returns its directory.
func written(t testing.TB, archives []database.JavaArchive) string {
	t.Helper()
	dir := t.TempDir()
	if err := database.WriteJava(dir, database.JavaOptions{Archives: archives}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unlinked opens the file at path and removes it: only the descriptor is left.
func unlinked(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func opened(t testing.TB, f *os.File) *Index {
	t.Helper()
	x, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func archive(group, artifact, version, sha1 string) database.JavaArchive {
	return database.JavaArchive{GroupID: group, ArtifactID: artifact, Version: version, SHA1: sha1}
}

func TestLookupsThroughADescriptorAlone(t *testing.T) {
	x := opened(t, unlinked(t, filepath.Join(written(t, append(database.MavenArchives(),
		archive("b.few", "jstl", "1.2", "01"), archive("a.most", "jstl", "1.2", "02"), archive("a.most", "jstl", "1.1", "03"),
		archive("b.tie", "tie", "1", "04"), archive("a.tie", "tie", "1", "05"),
		// Counted twice, since two of its jars have the version asked for.
		archive("c.twice", "twice", "1", "06"), archive("c.twice", "twice", "1", "07"),
		archive("a.three", "twice", "1", "08"), archive("a.three", "twice", "2", "09"), archive("a.three", "twice", "3", "0a"),
		database.JavaArchive{GroupID: "a", ArtifactID: "android", Version: "1", SHA1: "0b", Type: "aar"},
	)), "trivy-java.db")))
	for name, want := range map[[2]string]bool{
		{"org.apache.logging.log4j", "log4j-core"}: true,
		{"log4j-core", "org.apache.logging.log4j"}: false,
		{"org.apache.logging.log4j", ""}:           false,
		{"' OR 1=1 --", "x"}:                       false,
	} {
		if got, err := x.Exists(t.Context(), name[0], name[1]); err != nil || got != want {
			t.Errorf("%v exists: %v, %v; want %v", name, got, err, want)
		}
	}
	for sum, want := range map[string]Artifact{
		log4j:                     {"org.apache.logging.log4j", "log4j-core", "2.14.1"},
		strings.ToUpper(log4j):    {"org.apache.logging.log4j", "log4j-core", "2.14.1"},
		strings.Repeat("00", 20):  {},
		strings.Repeat("00", 200): {},
	} {
		if got, err := x.SearchBySHA1(t.Context(), sum); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", sum, got, err, want)
		}
	}
	if _, err := x.SearchBySHA1(t.Context(), "no hex"); err == nil {
		t.Error("a digest that is none is looked up without an error")
	}
	for name, want := range map[[2]string]string{
		{"log4j-core", "2.14.1"}: "org.apache.logging.log4j",
		{"log4j-core", "2.14.2"}: "",
		{"jstl", "1.2"}:          "a.most",
		{"tie", "1"}:             "a.tie",
		{"twice", "1"}:           "c.twice",
		{"android", "1"}:         "",
	} {
		if got, err := x.SearchByArtifactID(t.Context(), name[0], name[1]); err != nil || got != want {
			t.Errorf("the group of %v is %q, %v; want %q", name, got, err, want)
		}
	}
}

// What Trivy's own client reads from the same file is the measure.
func TestLookupsAgreeWithTrivysClient(t *testing.T) {
	dir := written(t, nil)
	theirs, err := db.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	f, err := os.Open(filepath.Join(dir, "trivy-java.db"))
	if err != nil {
		t.Fatal(err)
	}
	x := opened(t, f)
	for _, a := range append(database.MavenArchives(), archive("none", "none", "0", strings.Repeat("00", 20))) {
		bySum, err1 := theirs.SelectIndexBySha1(a.SHA1)
		byName, err2 := theirs.SelectIndexByArtifactIDAndGroupID(a.ArtifactID, a.GroupID)
		byArtifact, err3 := theirs.SelectIndexesByArtifactIDAndFileType(a.ArtifactID, a.Version, javatypes.JarType)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if got, err := x.SearchBySHA1(t.Context(), a.SHA1); err != nil || got != (Artifact{bySum.GroupID, bySum.ArtifactID, bySum.Version}) {
			t.Errorf("%s: %v, %v; Trivy finds %v (%s)", a.SHA1, got, err, bySum, hex.EncodeToString(bySum.SHA1))
		}
		if got, err := x.Exists(t.Context(), a.GroupID, a.ArtifactID); err != nil || got != (byName.ArtifactID != "") {
			t.Errorf("%s:%s exists: %v, %v; Trivy finds %v", a.GroupID, a.ArtifactID, got, err, byName)
		}
		if got, err := x.SearchByArtifactID(t.Context(), a.ArtifactID, a.Version); err != nil || (got != "") != (len(byArtifact) > 0) {
			t.Errorf("the group of %s is %q, %v; Trivy finds %v", a.ArtifactID, got, err, byArtifact)
		}
	}
}

func TestLookupsMayComeTogether(t *testing.T) {
	x := opened(t, unlinked(t, filepath.Join(written(t, nil), "trivy-java.db")))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if a, err := x.SearchBySHA1(t.Context(), log4j); err != nil || a.Version != "2.14.1" {
					t.Errorf("found %v, %v", a, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// scripted makes a database by SQL.
func scripted(t testing.TB, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scripted.db")
	d, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Exec(script)
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

const tables = `CREATE TABLE artifacts(id INTEGER PRIMARY KEY, group_id TEXT, artifact_id TEXT);
	CREATE TABLE indices(artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT);
	INSERT INTO artifacts VALUES (1, 'g', 'a'); INSERT INTO indices VALUES (1, '1', x'00', 'jar');`

func TestWhatIsNoIndexIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, path, want string }{
		{"an empty index", filepath.Join(written(t, []database.JavaArchive{}), "trivy-java.db"), "holds no artifacts"},
		{"an empty file", file(t, ""), "holds no artifacts"},
		{"no database", file(t, strings.Repeat("no database ", 1000)), "damaged"},
		{"a directory", t.TempDir(), "no regular file"},
		{"another database", scripted(t, `CREATE TABLE t(x)`), "another database"},
		{"views in the tables' place", scripted(t, `CREATE VIEW artifacts AS SELECT 1 id, 'g' group_id, 'a' artifact_id;
			CREATE VIEW indices AS WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM r) SELECT x artifact_id, '1' version, x'00' sha1, 'jar' archive_type FROM r`), "another database"},
		{"a virtual table in a table's place", scripted(t, `CREATE VIRTUAL TABLE artifacts USING fts5(group_id, artifact_id); CREATE TABLE indices(x)`), "another database"},
		{"a trigger", scripted(t, tables+`CREATE TRIGGER t AFTER INSERT ON indices BEGIN SELECT 1; END`), "another database"},
		{"other columns", scripted(t, `CREATE TABLE artifacts(id); CREATE TABLE indices(x); INSERT INTO indices VALUES (1)`), "damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := os.Open(tc.path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, err := Open(f)
			if err == nil {
				x.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open: %v; want an error with %q", err, tc.want)
			}
		})
	}
}

func file(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.db")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAValueTooLargeIsAnError(t *testing.T) {
	x := opened(t, unlinked(t, filepath.Join(written(t, []database.JavaArchive{
		archive("g", "a", "1", "00"), archive("g", "b", strings.Repeat("x", 2*maxValue), "01"),
	}), "trivy-java.db")))
	if a, err := x.SearchBySHA1(t.Context(), "00"); err != nil || a.Version != "1" {
		t.Errorf("the other archive is %v, %v", a, err)
	}
	if _, err := x.SearchBySHA1(t.Context(), "01"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a version of %d bytes: %v; want ErrDamaged", 2*maxValue, err)
	}
}
