package test

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// minimist is a layer with a package that has a critical vulnerability.
func minimist() blobLayer {
	return packed(func(w *tar.Writer) error {
		return addText(w, "usr/lib/node_modules/minimist/package.json", `{"name": "minimist", "version": "0.0.8"}`)
	})
}

// What is kept of layers and images saves time and decides nothing: whatever
// stands in its place, the verdict is that of the image.
func TestWhatIsKeptCannotChangeAVerdict(t *testing.T) {
	for _, kind := range []string{"layers", "images"} {
		s := newHostileScan(t)
		s.layout("other", packed(func(w *tar.Writer) error {
			return addText(w, "usr/lib/node_modules/other/package.json", `{"name": "other", "version": "1.0.0"}`)
		}))
		s.must(0, "--source=other")
		others := s.kept(kind)
		s.layout("image", hello(), minimist())
		s.must(3, "--source=image")
		mine := s.kept(kind)
		var other []byte
		for file, text := range others {
			other = text
			delete(mine, file)
		}
		for name, poison := range poisons(other) {
			t.Run(kind+": "+name, func(t *testing.T) {
				s.t = t
				check(t, os.RemoveAll(filepath.Join(s.cache, "results")))
				for file, text := range mine {
					check(t, os.MkdirAll(filepath.Dir(file), 0o755))
					check(t, poison(file, text))
				}
				o := s.run(bounds{data: 1 << 30, memory: 800 << 20}, "--source=image")
				o.want(t, 3, `usr/lib/node_modules/minimist/package.json`)
				if strings.Count(o.stdout, "CVE-2021-44906") != 1 || !strings.Contains(o.stdout, "2 packages") {
					t.Errorf("it found\n%s", o.stdout)
				}
			})
		}
	}
}

// poisons are what may stand in place of an answer, made of the answer itself and
// of another's.
func poisons(other []byte) map[string]func(file string, text []byte) error {
	write := func(change func([]byte) []byte) func(string, []byte) error {
		return func(file string, text []byte) error { return os.WriteFile(file, change(bytes.Clone(text)), 0o644) }
	}
	sparse := func(size int64) func(string, []byte) error {
		return func(file string, _ []byte) error {
			return errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, size))
		}
	}
	return map[string]func(string, []byte) error{
		"nothing":            write(func([]byte) []byte { return nil }),
		"noise":              write(func([]byte) []byte { return bytes.Repeat([]byte("noise"), 1000) }),
		"half of it":         write(func(b []byte) []byte { return b[:len(b)/2] }),
		"null":               write(func([]byte) []byte { return []byte("null") }),
		"an empty object":    write(func([]byte) []byte { return []byte("{}") }),
		"a million brackets": write(func([]byte) []byte { return bytes.Repeat([]byte("["), 1<<20) }),
		"another's":          write(func([]byte) []byte { return other }),
		"another's and it":   write(func(b []byte) []byte { return append(bytes.Clone(other), b...) }),
		"of another version": write(func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":`), []byte(`"version":1`), 1) }),
		"a named pipe":       func(file string, _ []byte) error { return syscall.Mkfifo(file, 0o644) },
		"a folder":           func(file string, _ []byte) error { return os.Mkdir(file, 0o755) },
		"a link to a device": func(file string, _ []byte) error { return os.Symlink("/dev/zero", file) },
		"a link to itself":   func(file string, _ []byte) error { return os.Symlink(file, file) },
		"a file of 200 MB":   sparse(200 << 20),
		"a file of 10 GB":    sparse(10 << 30),
	}
}

// must scans and must end with this code.
func (s *hostileScan) must(code int, args ...string) {
	s.t.Helper()
	s.run(bounds{}, args...).want(s.t, code, "")
}

// kept is what is kept of layers, or of images, by file.
func (s *hostileScan) kept(kind string) map[string][]byte {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.cache, "results", kind+"-*", "*.answer"))
	check(s.t, err)
	if len(files) == 0 {
		s.t.Fatalf("nothing is kept of %s: the test looks at the wrong thing", kind)
	}
	found := map[string][]byte{}
	for _, file := range files {
		found[file], err = os.ReadFile(file)
		check(s.t, err)
	}
	return found
}
