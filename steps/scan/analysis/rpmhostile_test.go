package analysis

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// readHostile analyses a database that someone made to break its reader, and
// fails if it takes long, much memory, or leaves something behind.
func readHostile(t *testing.T, database string) *Result {
	t.Helper()
	const maxAlloc, maxTime = 512 << 20, 20 * time.Second
	dir := t.TempDir()
	data := layerTar(t, file{path: "var/lib/rpm/Packages", content: database})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	r, err := Layer(t.Context(), input(data), Options{TempDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := time.Since(start); took > maxTime {
		t.Errorf("it took %v", took)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > maxAlloc {
		t.Errorf("it took %d MB of memory", used>>20)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v (%v)", left, err)
	}
	return r
}

// changed returns data with 32-bit numbers put in at offsets.
func changed(data []byte, order binary.ByteOrder, numbers map[int]uint32) string {
	data = slices.Clone(data)
	for at, n := range numbers {
		order.PutUint32(data[at:], n)
	}
	return string(data)
}

func TestHostileRpmDatabasesAreProblems(t *testing.T) {
	le := binary.LittleEndian
	good := rpmPackageOf("good", rpmTag{tagLicense, strings.Repeat("x", 2000)})
	bdb := berkeleyDBOf(le, good)
	ndb := ndbOf(good)
	const table, chain, ref, blob = 512, 1024, 1024 - bdbOffPageRef, ndbPage // where these are
	sqlite := sqliteOf(t, []string{rpmTable}, good)
	endless := "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT randomblob(100000) AS blob FROM c"
	for _, tc := range []struct{ name, database, reason string }{
		{"an empty file", "", "cut short"},
		{"another file", strings.Repeat("a", 4096), "in no format"},
		{"Berkeley DB cut in a chain", string(bdb[:len(bdb)-512]), "cut short"},
		{"Berkeley DB with pages of no size", changed(bdb, le, map[int]uint32{20: 0}), "first one is damaged"},
		{"Berkeley DB with endless pages", changed(bdb, le, map[int]uint32{32: 1 << 31}), "cut short"},
		{"Berkeley DB with a page that follows itself", changed(bdb, le, map[int]uint32{chain + 16: 2}), "not the next part"},
		{"Berkeley DB with a chain that leads into the table", changed(bdb, le, map[int]uint32{chain + 16: 1}), "not the next part"},
		{"Berkeley DB with a chain that leads out", changed(bdb, le, map[int]uint32{ref + 4: 1 << 30}), "cut short"},
		{"Berkeley DB with a package of 4 GB", changed(bdb, le, map[int]uint32{ref + 8: 1<<32 - 1}), "too large"},
		{"Berkeley DB with a package larger than the file", changed(bdb, le, map[int]uint32{ref + 8: 1 << 20}), "larger than the file"},
		{"Berkeley DB with a chain too short", changed(bdb, le, map[int]uint32{ref + 8: 2100}), "hold"},
		{"Berkeley DB with a value out of its page", changed(bdb, le, map[int]uint32{table + bdbPageHead: 0xffff_ffff}), "cut short"},
		{"Berkeley DB with a table of any length", changed(bdb, le, map[int]uint32{table + 20: 0xfffe}), "claims 65534 entries"},
		{"ndb cut in its slots", string(ndb[:100]), "cut short"},
		{"ndb cut in a package", string(ndb[:len(ndb)-100]), "cut short"},
		{"ndb with endless slots", changed(ndb, le, map[int]uint32{12: 1 << 31}), "not understood"},
		{"ndb with a slot that is none", changed(ndb, le, map[int]uint32{ndbSlots: 1}), "cut short"},
		{"ndb with a slot that leads out", changed(ndb, le, map[int]uint32{ndbSlots + 8: 1<<32 - 1}), "cut short"},
		{"ndb with a package of 4 GB", changed(ndb, le, map[int]uint32{blob + 12: 1<<32 - 1}), "too large"},
		{"ndb with another's package", changed(ndb, le, map[int]uint32{blob + 4: 9}), "cut short"},
		{"SQLite cut short", sqlite[:4096], ""},
		{"SQLite without packages", sqliteOf(t, []string{"CREATE TABLE x (blob)"}), "no table of packages"},
		{"SQLite with an endless view", sqliteOf(t, []string{"CREATE VIEW Packages AS " + endless}), "no table of packages"},
		{"SQLite with values it computes", sqliteOf(t, []string{"CREATE TABLE Packages (n INTEGER, blob BLOB AS (zeroblob(n)))", "INSERT INTO Packages (n) VALUES (900000000)"}), "no table of packages"},
		{"SQLite with a package that is none", sqliteOf(t, []string{rpmTable}, []byte("x")), "cut short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := readHostile(t, tc.database)
			if len(r.Problems) != 1 || r.Problems[0].Analyzer != nameRpm || !strings.Contains(r.Problems[0].Reason, tc.reason) {
				t.Errorf("problems %v; want one about %q", r.Problems, tc.reason)
			}
			if len(r.Problems) == 1 && strings.Contains(r.Problems[0].Reason, "broke off") {
				t.Errorf("a parser panicked: %v", r.Problems)
			}
		})
	}
}

// What stands before the damage is found, what is behind it is told.
func TestPackagesBeforeTheDamageAreFound(t *testing.T) {
	r := readHostile(t, sqliteOf(t, []string{rpmTable}, rpmPackageOf("good"), []byte("none"), rpmPackageOf("behind")))
	if len(r.Packages) != 1 || len(r.Packages[0].Packages) != 1 || r.Packages[0].Packages[0].Name != "good" || len(r.Problems) != 1 {
		t.Errorf("found %v with problems %v; want one of each", found(r), r.Problems)
	}
}

func TestHostileRpmHeadersAreProblems(t *testing.T) {
	be := binary.BigEndian
	good := rpmPackageOf("good", rpmTag{tagProvides, []string{"a", "b"}})
	const first, second = 8, 24 // where values are indexed
	const offset, count = 8, 12
	tags := func(n int) []rpmTag { // a name as often as it takes
		return slices.Repeat([]rpmTag{{tagProvides, []string{"a", "b"}}}, n)
	}
	files := func(dir string, n int) []byte {
		return rpmPackageOf("many", rpmTag{tagVendor, "Red Hat"}, rpmTag{tagDirIndexes, make([]uint32, n)},
			rpmTag{tagBaseNames, slices.Repeat([]string{"a"}, n)}, rpmTag{tagDirNames, []string{dir}})
	}
	overlapping := rpmPackageOf("x", tags(1000)...)
	for i := range 1000 { // all name the first value
		copy(overlapping[8+16*(3+i)+offset:], overlapping[8+16*3+offset:][:4])
	}
	for _, tc := range []struct{ name, header, reason string }{
		{"nothing", "", "cut short"},
		{"an index of 32 GB", changed(good, be, map[int]uint32{0: 1<<31 - 1}), "more than its"},
		{"an index of a negative length", changed(good, be, map[int]uint32{0: 1 << 31}), "more than its"},
		{"data beyond its end", changed(good, be, map[int]uint32{4: 1 << 30}), "more than its"},
		{"a value beyond the data", changed(good, be, map[int]uint32{second + offset: 1 << 30}), "overlaps"},
		{"strings without an end", changed(good, be, map[int]uint32{8 + 16*3 + count: 1<<32 - 1}), "beyond the data"},
		{"a value as large as it likes", changed(good, be, map[int]uint32{first + 4: 5, first + count: 1<<32 - 1}), "beyond the data"},
		{"a name of another kind", changed(good, be, map[int]uint32{first + 4: 7}), "length"},
		{"a kind that is none", changed(good, be, map[int]uint32{first + 4: 99}), ""},
		{"values that overlap", string(overlapping), "overlaps"},
		{"a file in a directory that is none", string(rpmPackageOf("x", rpmTag{tagVendor, "Red Hat"}, rpmTag{tagDirIndexes, []uint32{1 << 31}},
			rpmTag{tagBaseNames, []string{"a"}}, rpmTag{tagDirNames, []string{"/"}})), "is in directory"},
		{"files that stand for gigabytes", string(files("/"+strings.Repeat("d", 1<<20), 1000)), "names of more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := readHostile(t, string(ndbOf([]byte(tc.header))))
			if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Reason, tc.reason) {
				t.Errorf("problems %v; want one about %q", r.Problems, tc.reason)
			}
		})
	}
}

// A byte that changed, or an end that is missing, may go unnoticed, as none of
// the formats has a checksum; but nothing breaks, and nothing is invented.
func TestDamagedRpmDatabasesBreakNothing(t *testing.T) {
	databases := realRpmDatabases(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"libuuid", "sle15-bci", "cbl-mariner-2.0"} {
		whole := readFile(t, databases[name])
		t.Run(name, func(t *testing.T) {
			for range 8 {
				flipped := []byte(whole)
				for range 1 + random.IntN(50) {
					flipped[random.IntN(len(flipped))] ^= 1 << random.IntN(8)
				}
				r := readHostile(t, string(flipped))
				if len(r.Packages) != 1 {
					t.Fatalf("%d lists of packages", len(r.Packages))
				}
			}
			for _, size := range []int{len(whole) / 3, len(whole) - 4096} {
				if r := readHostile(t, whole[:size]); len(r.Problems) != 1 {
					t.Errorf("cut to %d of %d bytes: problems %v; want one", size, len(whole), r.Problems)
				}
			}
		})
	}
}
