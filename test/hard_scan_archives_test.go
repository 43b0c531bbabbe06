package test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Files that unpack to far more than they are, hold too much, or are broken: each
// is named with the reason, and there is no verdict.
func TestAFileThatCannotBeReadToItsEndIsNamed(t *testing.T) {
	zeros := make([]byte, 96<<20)
	broken := brokenRpmDatabases(t)
	for _, tc := range []struct{ path, text, says string }{
		{"srv/ratio.jar", zipped(t, "lib/a.jar", string(zeros)), `srv/ratio.jar!lib/a.jar: jar: too large: all that is inside unpacks to more than 67108864 bytes \(at most 100 times the archive's own size`},
		{"srv/parts.jar", zipped(t, "a.jar", string(zeros[:40<<20]), "b.jar", string(zeros[:40<<20])), `.*srv/parts.jar!b.jar: jar: too large`},
		{"srv/deep.war", nested(t, 30), `srv/deep.war!.*: jar: archives nested more than 8 deep`},
		{"srv/count.ear", directory(600_000), `srv/count.ear: jar: too large: more than 500000 entries`},
		{"srv/overlap.jar", overlapping(t, 5000), `srv/overlap.jar!\d+.jar: jar: `},
		{"srv/leaves.jar", zipped(t, "../../../etc/a.jar", ""), `srv/leaves.jar!.*: jar: its path leaves the archive`},
		{"srv/none.jar", "This is no archive.", `srv/none.jar: jar: zip: not a valid zip file`},
		{"usr/lib/python3/a.egg", zipped(t, "EGG-INFO/PKG-INFO", string(zeros)), `usr/lib/python3/a.egg: python-egg: EGG-INFO/PKG-INFO: too large: 100663296 bytes, more than 10485760`},
		{"usr/lib/python3/b.egg", directory(600_000), `usr/lib/python3/b.egg: python-egg: too large: more than 500000 entries`},
		{"srv/package.json", strings.Repeat("[", 1<<20), `srv/package.json: node-pkg: too large: values inside each other, more than 100 deep`},
		{"srv/Cargo.lock", "a = " + strings.Repeat("[", 1<<20), `srv/Cargo.lock: cargo: too large: `},
		{"srv/Manifest.toml", strings.Repeat("a.", 1<<20) + "a = 1", `srv/Manifest.toml: julia: too large: `},
		{"var/lib/dpkg/status", "Package: " + strings.Repeat("a", 65<<20), `var/lib/dpkg/status: dpkg: too large: \d+ bytes, more than the 67108864`},
		{"lib/apk/db/installed", strings.Repeat("P:"+strings.Repeat("a", 1<<10)+"\n", 66<<10), `lib/apk/db/installed: apk: too large`},
		{"var/lib/rpm/Packages", broken["centos7-plain"], `var/lib/rpm/Packages: rpm: `},
		{"usr/lib/sysimage/rpm/Packages.db", broken["sle15-bci"], `usr/lib/sysimage/rpm/Packages.db: rpm: `},
		{"var/lib/rpm/rpmdb.sqlite", broken["fedora35"], `var/lib/rpm/rpmdb.sqlite: rpm: `},
	} {
		t.Run(filepath.Base(tc.path), func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image", hello(), packed(func(w *tar.Writer) error { return addText(w, tc.path, tc.text) }))
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, 1, "no verdict: .* of the image could not be read; "+tc.says)
		})
	}
}

// Files that look larger than any are, because almost nothing of them is there.
func TestASparseFileTakesNoMoreThanItsLimit(t *testing.T) {
	for _, tc := range []struct {
		path, start string
		size        int64
		code        int
		says        string
	}{
		{"srv/sparse.jar", "PK\x03\x04", 3 << 30, 1, `srv/sparse.jar: jar: too large: 3221225472 bytes, more than the 2147483648`},
		{"usr/bin/sparse", "\x7fELF", 5 << 30, 1, `usr/bin/sparse: .*: too large: 5368709120 bytes, more than the 4294967296`},
		{"usr/bin/hollow", "\x7fELF", 1 << 30, 0, `1 package`},
		{"srv/sparse.log", "text", 1 << 30, 0, `1 package`},
	} {
		t.Run(filepath.Base(tc.path), func(t *testing.T) {
			s := newHostileScan(t)
			tarred := sparse(t, tc.path, tc.size)
			copy(tarred[len(tarred)-512:], tc.start)
			copy(tarred[100:], "0000755\x00")
			s.layout("image", hello(), gzipped(func(w io.Writer) error {
				_, err := w.Write(append(checksummed(tarred), make([]byte, 1024)...))
				return err
			}))
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, tc.code, tc.says)
		})
	}
}

// zipped is an archive of these files: names and contents by turns.
func zipped(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		check(t, err)
		_, err = io.WriteString(f, files[i+1])
		check(t, err)
	}
	check(t, w.Close())
	return b.String()
}

// nested is an archive in an archive, and so on.
func nested(t *testing.T, depth int) string {
	t.Helper()
	text := zipped(t, "META-INF/MANIFEST.MF", "Implementation-Title: a\n")
	for range depth {
		text = zipped(t, "a.jar", text)
	}
	return text
}

// directory is an archive that has nothing but the names of so many files.
func directory(files int) string {
	entry := append([]byte("PK\x01\x02"), make([]byte, 46-4)...)
	binary.LittleEndian.PutUint16(entry[28:], 1)
	data := bytes.Repeat(append(entry, 'a'), files)
	end := make([]byte, 56+20+22)
	copy(end, "PK\x06\x06")
	binary.LittleEndian.PutUint64(end[4:], 44)
	binary.LittleEndian.PutUint64(end[24:], uint64(files))
	binary.LittleEndian.PutUint64(end[32:], uint64(files))
	binary.LittleEndian.PutUint64(end[40:], uint64(len(data)))
	copy(end[56:], "PK\x06\x07")
	binary.LittleEndian.PutUint64(end[56+8:], uint64(len(data)))
	binary.LittleEndian.PutUint32(end[56+16:], 1)
	copy(end[76:], "PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	return string(append(data, end...))
}

// overlapping is an archive whose many archives are one and the same megabyte of
// zeros: https://www.bamsoftware.com/hacks/zipbomb/
func overlapping(t *testing.T, files int) string {
	t.Helper()
	one := zipped(t, "0.jar", string(make([]byte, 1<<20)))
	start := strings.Index(one, "PK\x01\x02")
	stop := strings.LastIndex(one, "PK\x05\x06")
	var all strings.Builder
	all.WriteString(one[:start])
	for i := range files {
		entry := []byte(one[start : start+46])
		name := fmt.Sprintf("%d.jar", i)
		binary.LittleEndian.PutUint16(entry[28:], uint16(len(name)))
		all.Write(append(entry, name...))
		all.WriteString(one[start+46+len("0.jar") : stop])
	}
	end := []byte(one[stop:])
	binary.LittleEndian.PutUint16(end[8:], uint16(files))
	binary.LittleEndian.PutUint16(end[10:], uint16(files))
	binary.LittleEndian.PutUint32(end[12:], uint32(all.Len()-start))
	all.Write(end)
	return all.String()
}

// brokenRpmDatabases are databases of real systems, which go-rpmdb brings for its
// own tests, with their second half turned into noise.
func brokenRpmDatabases(t *testing.T) map[string]string {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/knqyf263/go-rpmdb").Output()
	check(t, err)
	broken := map[string]string{}
	for system, file := range map[string]string{"centos7-plain": "Packages", "sle15-bci": "Packages.db", "fedora35": "rpmdb.sqlite"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "pkg", "testdata", system, file))
		check(t, err)
		for i := len(text) / 2; i < len(text); i++ {
			text[i] ^= byte(i*i>>3 | 1)
		}
		broken[system] = string(text)
	}
	return broken
}
