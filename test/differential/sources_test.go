package differential

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/gzip"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
)

// sources are where real files come from: the modules whose own tests hold
// hundreds of lists of packages, databases and SBOMs.
type sources struct {
	trivy string // folder of the module
	rpmdb string
}

func newSources(t *testing.T) sources {
	t.Helper()
	return sources{trivy: moduleDir(t, "github.com/aquasecurity/trivy"), rpmdb: moduleDir(t, "github.com/knqyf263/go-rpmdb")}
}

// moduleDir is where Go keeps the module, in the version of go.mod.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Fatalf("module %s is not in the module cache (%v); run: go mod download", module, err)
	}
	return dir
}

// analyzers are the test files of Trivy's own analyzer of one kind.
func (s sources) analyzer(path string) string {
	return filepath.Join(s.trivy, "pkg", "fanal", "analyzer", filepath.FromSlash(path), "testdata")
}

// parser are the test files of one of Trivy's own parsers.
func (s sources) parser(path string) string {
	return filepath.Join(s.trivy, "pkg", "dependency", "parser", filepath.FromSlash(path), "testdata")
}

// rpm is one of the databases of go-rpmdb.
func (s sources) rpm(name string) string { return filepath.Join(s.rpmdb, "pkg", "testdata", name) }

// image is one of the images that Trivy's own tests scan, a gzipped docker save.
func (s sources) image(name string) func(*testing.T) v1.Image {
	return func(t *testing.T) v1.Image {
		t.Helper()
		image, err := tarball.Image(func() (io.ReadCloser, error) {
			file, err := os.Open(filepath.Join(s.trivy, "pkg", "fanal", "test", "testdata", name))
			if err != nil {
				return nil, err
			}
			plain, err := gzip.NewReader(file)
			if err != nil {
				file.Close()
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{plain, file}, nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
}

// archive adds the files of a txtar.
func (l *layer) archive(t *testing.T, prefix, file string) *layer {
	t.Helper()
	files, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files.Files {
		l.text(prefix+f.Name, string(f.Data))
	}
	return l
}

// debian is a real one, and distroless what Distroless makes of it.
func debian(t *testing.T) v1.Image {
	t.Helper()
	image, err := maker().Debian(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func distroless(t *testing.T) v1.Image {
	t.Helper()
	image, err := maker().Distroless(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func maker() *images.Maker {
	return &images.Maker{Cache: filepath.Join("..", "..", ".cache", "images"), Log: os.Stderr}
}

// writeDatabases makes the vulnerability database and the index of Java archives
// in a cache folder, as both programs have it. The database holds the true facts
// of test/database, those that Trivy tests itself with, and invented ones for
// what would be rare.
func (s sources) writeDatabases(t *testing.T, cache string) {
	t.Helper()
	var before []string
	for _, pattern := range []string{
		"pkg/detector/ospkg/*/testdata/fixtures/*.yaml",
		"pkg/detector/library/testdata/fixtures/*.yaml",
		"pkg/scan/local/testdata/fixtures/happy.yaml",
		"integration/testdata/fixtures/db/*.yaml",
	} {
		files, err := filepath.Glob(filepath.Join(s.trivy, filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("no database of Trivy's at %s (%v)", pattern, err)
		}
		before = append(before, files...)
	}
	before = slices.DeleteFunc(before, func(file string) bool {
		// Damaged on purpose, or of numbers that say something else in the other files.
		return strings.HasPrefix(filepath.Base(file), "invalid") || strings.Contains(filepath.ToSlash(file), "ospkg/redhat/")
	})
	before = append(before, filepath.Join("testdata", "invented.yaml"))
	if err := database.Write(filepath.Join(cache, "db"), database.Options{Before: before}); err != nil {
		t.Fatal(err)
	}
	writeJavaIndex(t, filepath.Join(cache, "java-db"))
}
