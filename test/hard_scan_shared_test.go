package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagewright/imagewright/test/database"
)

// A database in a shared cache that is broken is said to be: it is never deleted,
// never changed, and nothing passes because of it.
func TestABrokenDatabaseStaysAsItIs(t *testing.T) {
	const page = 4096
	le := binary.LittleEndian
	for name, damage := range map[string]func([]byte) []byte{
		"noise":                    func(b []byte) []byte { return bytes.Repeat([]byte("noise"), len(b)/5) },
		"nothing":                  func([]byte) []byte { return nil },
		"cut in half":              func(b []byte) []byte { return b[:len(b)/2] },
		"cut after the first page": func(b []byte) []byte { return b[:page] },
		"no second half":           func(b []byte) []byte { return append(b[:len(b)/2], make([]byte, len(b)-len(b)/2)...) },
		"all pages noise":          func(b []byte) []byte { return append(b[:2*page], bytes.Repeat([]byte{0xa5}, len(b)-2*page)...) },
		"both heads noise":         func(b []byte) []byte { return append(bytes.Repeat([]byte{0xa5}, 2*page), b[2*page:]...) },
		"pages in themselves":      func(b []byte) []byte { return rings(b, page) },
		"pages of other kinds": func(b []byte) []byte {
			for at := 2 * page; at+page <= len(b); at += page {
				b[at+8] ^= 3 // a branch is a leaf, and a leaf a branch
			}
			return b
		},
		"values beyond the file": func(b []byte) []byte {
			for at := 2 * page; at+page <= len(b); at += page {
				if le.Uint16(b[at+8:]) == 2 {
					for i := range int(le.Uint16(b[at+10:])) {
						le.PutUint32(b[at+16+16*i+4:], 1<<31-1)
					}
				}
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image", packed(func(w *tar.Writer) error {
				return errors.Join(addText(w, "etc/debian_version", "12.5\n"),
					addText(w, "var/lib/dpkg/status", "Package: zlib1g\nStatus: install ok installed\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nMaintainer: a\n"),
					addText(w, "node_modules/minimist/package.json", `{"name": "minimist", "version": "0.0.8"}`))
			}))
			file := filepath.Join(s.cache, "db", "trivy.db")
			text, err := os.ReadFile(file)
			check(t, err)
			check(t, os.WriteFile(file, damage(text), 0o644))
			before := s.holdings()
			o := s.run(bounds{data: 1 << 30}, "--source=image")
			o.want(t, 1, `trivy.db is empty; remove |vulnerability database .*; remove |broke off: something in what it reads is inside itself.*damaged database: remove `)
			s.checkHoldings(before)
		})
	}
}

// rings makes each page of inner nodes its own child.
func rings(b []byte, page int) []byte {
	le := binary.LittleEndian
	for at := 2 * page; at+page <= len(b); at += page {
		if le.Uint16(b[at+8:]) == 2 { // a leaf becomes an inner node
			le.PutUint16(b[at+8:], 1)
		}
		if le.Uint16(b[at+8:]) == 1 {
			for i := range int(le.Uint16(b[at+10:])) {
				if e := at + 16 + 16*i; e+16 <= len(b) {
					le.PutUint64(b[e+8:], uint64(at/page))
				}
			}
		}
	}
	return b
}

// So is the index of Java archives.
func TestABrokenJavaIndexStaysAsItIs(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"noise":             func(b []byte) []byte { return bytes.Repeat([]byte("noise"), len(b)/5) },
		"cut in half":       func(b []byte) []byte { return b[:len(b)/2] },
		"all pages noise":   func(b []byte) []byte { return append(b[:4096], bytes.Repeat([]byte{0xa5}, len(b)-4096)...) },
		"pages in a ring":   func(b []byte) []byte { return append(b[:4096], bytes.Repeat(b[:4096], len(b)/4096-1)...) },
		"only its heading":  func(b []byte) []byte { return append(b[:100], make([]byte, len(b)-100)...) },
		"of another schema": func([]byte) []byte { return []byte(strings.Repeat("SQLite format 3\x00", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image", hello(), packed(func(w *tar.Writer) error {
				return addText(w, "srv/unknown-1.0.jar", zipped(t, "A.class", "text"))
			}))
			dir := filepath.Join(s.cache, "java-db")
			check(t, os.MkdirAll(dir, 0o755))
			check(t, database.WriteJava(dir, database.JavaOptions{}))
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, 0, "1 package, 1 unidentified Java archive")
			file := filepath.Join(dir, "trivy-java.db")
			text, err := os.ReadFile(file)
			check(t, err)
			check(t, os.WriteFile(file, damage(text), 0o644))
			check(t, os.RemoveAll(filepath.Join(s.cache, "results"))) // else it is not asked again
			before := s.holdings()
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, 1, `index of Java archives: .*; remove it so that it is fetched again`)
			s.checkHoldings(before)
		})
	}
}

// A database that others have open is read with them; one that somebody writes is
// not waited for without end.
func TestADatabaseThatAnotherHasOpen(t *testing.T) {
	s := newHostileScan(t)
	s.layout("image")
	f, err := os.OpenFile(filepath.Join(s.cache, "db", "trivy.db"), os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	check(t, syscall.Flock(int(f.Fd()), syscall.LOCK_SH))
	before := s.holdings()
	s.run(bounds{}, "--source=image").want(t, 0, "1 package")
	check(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	check(t, os.RemoveAll(filepath.Join(s.cache, "results")))
	s.run(bounds{deadline: 30 * time.Second}, "--source=image").want(t, 1, "vulnerability database .*: another process is writing it; scan again")
	s.checkHoldings(before)
}

// holdings are the digests of all files of the databases, by path.
func (s *hostileScan) holdings() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	check(s.t, filepath.WalkDir(s.cache, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "/results/") {
			return err
		}
		text, err := os.ReadFile(path)
		found[path] = fmt.Sprintf("%x", sha256.Sum256(text))
		return err
	}))
	return found
}

func (s *hostileScan) checkHoldings(before map[string]string) {
	s.t.Helper()
	after := s.holdings()
	for path, digest := range before {
		if after[path] != digest {
			s.t.Errorf("%s has changed", path)
		}
	}
	if len(after) != len(before) {
		s.t.Errorf("the cache has %d files of databases, and had %d", len(after), len(before))
	}
}
