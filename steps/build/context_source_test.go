package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tonistiigi/fsutil"

	"github.com/imagewright/imagewright/internal/fault"
)

// packed is a tar.gz with one file in it.
func packed(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listed is the files of a mount, by name and content.
func listed(t *testing.T, files fsutil.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := files.Walk(context.Background(), "", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		stream, err := files.Open(path)
		if err != nil {
			return err
		}
		defer stream.Close()
		text, err := io.ReadAll(stream)
		all[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatTheBuilderGetsOfAContext(t *testing.T) {
	const text = "FROM scratch\n"
	tarball := string(packed(t, "Dockerfile", text))
	files := map[string]string{"Dockerfile": text, "app/x": "x", "deploy/app.Dockerfile": text, "app.tar.gz": tarball}
	files["git@example.org:x/Dockerfile"] = text
	dir := checkout(t, files)
	absolute := filepath.Join(dir, "deploy", "app.Dockerfile")
	for _, tc := range []struct {
		name, context, file, stdin string
		attrs                      map[string]string
		context_, dockerfile       map[string]string // what is in the mounts; nil for none
		remote, archive            bool
	}{
		{name: "directory", context: "app", file: "Dockerfile", attrs: map[string]string{"filename": "Dockerfile"},
			context_: map[string]string{"x": "x"}, dockerfile: files},
		{name: "directory that looks like an address", context: "git@example.org:x", attrs: map[string]string{"filename": "Dockerfile"},
			context_: map[string]string{"Dockerfile": text}, dockerfile: map[string]string{"Dockerfile": text}},
		{name: "Dockerfile on standard input", context: "app", file: "-", stdin: text, attrs: map[string]string{"filename": "Dockerfile"},
			context_: map[string]string{"x": "x"}, dockerfile: map[string]string{"Dockerfile": text}},
		{name: "Dockerfile in place of a context", context: "-", stdin: text, attrs: map[string]string{"filename": "Dockerfile"},
			context_: map[string]string{}, dockerfile: map[string]string{"Dockerfile": text}},
		{name: "archive on standard input", context: "-", stdin: tarball, attrs: map[string]string{"filename": "Dockerfile"}, remote: true, archive: true},
		{name: "archive in a file", context: "app.tar.gz", file: "./sub/Dockerfile", attrs: map[string]string{"filename": "sub/Dockerfile"}, remote: true, archive: true},
		{name: "repository", context: "https://me:t0k3n@example.org/x.git#main", file: "deploy/Dockerfile", remote: true,
			attrs: map[string]string{"filename": "deploy/Dockerfile", "context": "https://example.org/x.git#main"}},
		{name: "repository with a Dockerfile from here", context: "https://example.org/x.git", file: absolute,
			attrs:      map[string]string{"filename": "app.Dockerfile", "context": "https://example.org/x.git", "dockerfilekey": "dockerfile"},
			dockerfile: map[string]string{"app.Dockerfile": text}},
		{name: "archive with a Dockerfile from here", context: "app.tar.gz", file: absolute, archive: true,
			attrs:      map[string]string{"filename": "app.Dockerfile", "dockerfilekey": "dockerfile"},
			dockerfile: map[string]string{"app.Dockerfile": text}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := around(dir)
			s.stdin = strings.NewReader(tc.stdin)
			c, err := readContext(tc.context, s)
			if err != nil {
				t.Fatal(err)
			}
			d, err := locateDockerfile(tc.file, "", c, s)
			if err != nil {
				t.Fatal(err)
			}
			if d.Remote != tc.remote {
				t.Errorf("only the builder reads the Dockerfile: %v, want %v", d.Remote, tc.remote)
			}
			if diff := cmp.Diff(tc.attrs, c.attrs(d)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			mounts, err := c.mounts(d, s)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]map[string]string{"context": tc.context_, "dockerfile": tc.dockerfile} {
				var got map[string]string
				if mounts[name] != nil {
					got = listed(t, mounts[name])
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("mount %s (-want +got):\n%s", name, diff)
				}
			}
			for range 2 { // once a builder
				attrs := map[string]string{}
				attached, err := c.attach(attrs)
				if err != nil {
					t.Fatal(err)
				}
				if (attached != nil) != tc.archive || strings.HasPrefix(attrs["context"], "http://buildkit-session/") != tc.archive {
					t.Errorf("attached %v as %q, want an archive: %v", attached, attrs["context"], tc.archive)
				}
			}
		})
	}
}

// BuildKit asks for a directory by any of these names.
func TestFilesInMemoryAreFound(t *testing.T) {
	files := memoryFS{"Dockerfile": []byte("FROM scratch\n"), "other": nil}
	for target, want := range map[string]int{"": 2, "/": 2, ".": 2, "Dockerfile": 1, "./Dockerfile": 1, "nothing": 0} {
		found := 0
		err := files.Walk(t.Context(), target, func(string, fs.DirEntry, error) error { found++; return nil })
		if err != nil || found != want {
			t.Errorf("%q: %d files, %v; want %d", target, found, err, want)
		}
	}
	if _, err := files.Open("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v for what is not there", err)
	}
}

func TestArchiveFromStandardInputIsReadAsOftenAsNeeded(t *testing.T) {
	want := packed(t, "large", strings.Repeat("x", 3*archiveHeaderBytes))
	t.Setenv("TMPDIR", t.TempDir())
	c, err := stdinContext(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		stream, err := c.Archive.open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(stream)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes (%v), want the %d of standard input", len(got), err, len(want))
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("there are files to be left behind: %v, %v", left, err)
	}
}

func TestContextsThatAreRefused(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\n", "notes.txt": "text", "docker-bake.hcl": "", "app.tar": string(packed(t, "a", ""))})
	outside := filepath.Join(t.TempDir(), "app.tar")
	if err := os.WriteFile(outside, packed(t, "a", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.tar")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, context, file, stdin string
		fork                       bool
		want                       string
	}{
		{"neither directory nor archive", "notes.txt", "", "", false, "notes.txt is not a directory: it is a file, but no tar archive"},
		{"device", "/dev/null", "", "", false, "is not a directory: it is not a file either"},
		{"nothing there", "nowhere", "", "", false, "there is no directory"},
		{"empty standard input", "-", "", "", false, "standard input is empty"},
		{"two Dockerfiles", "-", "Dockerfile", "FROM scratch\n", false, "on standard input already"},
		{"standard input twice", "app.tar", "-", "FROM scratch\n", false, "when the context is an archive"},
		{"mistake on standard input", "-", "", "FROM scratch\nCPOY a b\n", false, "Dockerfile on standard input:2: unknown instruction"},
		{"file outside a remote context", "app.tar", "../Dockerfile", "", false, `"../Dockerfile" is not in the context`},
		{"bake file", ".", "docker-bake.hcl", "", false, "docker-bake.hcl is a bake or compose file"},
		{"compose file", ".", "deploy/compose.yaml", "", false, "compose.yaml is a bake or compose file"},
		{"address for a fork", "https://t0k3n@example.org/x.git", "", "", true, "runs for forks build the checkout"},
		{"linked archive for a fork", "link.tar", "", "", true, "is outside the checkout"},
		{"linked directory for a fork", "etc", "", "", true, "is outside the checkout"},
		{"Dockerfile elsewhere for a fork", "app.tar", outside, "", true, "is outside the checkout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := around(dir)
			s.fork = tc.fork
			s.stdin = strings.NewReader(tc.stdin)
			c, err := readContext(tc.context, s)
			if err == nil {
				_, err = locateDockerfile(tc.file, "", c, s)
			}
			if fault.Code(err) != fault.ExitUsage {
				t.Fatalf("error %v has exit code %d, want %d", err, fault.Code(err), fault.ExitUsage)
			}
			if text := err.Error() + fault.Hint(err); !strings.Contains(text, tc.want) || strings.Contains(text, "t0k3n") {
				t.Errorf("error %q, want one that says %q", text, tc.want)
			}
		})
	}
}

func TestFactsAreThoseOfTheRepositoryThatIsBuilt(t *testing.T) {
	const commit, other = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"
	own := facts{Repository: "https://example.org/acme/app", Revision: commit, Ref: "refs/heads/main", Date: noDate}
	for value, want := range map[string]facts{
		"https://example.org/acme/app.git#" + commit: own,
		"https://example.org/acme/app.git#" + other:  {Repository: own.Repository, Revision: other},
		"https://example.org/acme/lib.git#" + commit: {Repository: "https://example.org/acme/lib", Revision: commit},
		"https://example.org/acme/app.git#main":      {Repository: own.Repository},
		"https://example.org/app.tar":                {},
	} {
		a, err := parseAddress(value)
		if err != nil {
			t.Fatal(err)
		}
		if got := (buildContext{Address: a}).facts(own); got != want {
			t.Errorf("%s: facts are %+v, want %+v", value, got, want)
		}
	}
}

func TestForksMayNameTheirOwnCommit(t *testing.T) {
	s := around(t.TempDir())
	s.fork, s.facts.Repository = true, "https://example.org/acme/app"
	c, err := readContext(defaultContext, s)
	if err != nil || !c.Own || c.Address.URL != "https://example.org/acme/app.git#7a3b5c9" {
		t.Errorf("context %+v, %v; want the commit's address", c, err)
	}
	if got := c.facts(s.facts); got != s.facts {
		t.Errorf("facts are %+v, want the checkout's", got)
	}
}
