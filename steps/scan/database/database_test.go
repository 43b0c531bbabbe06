package database

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/registry"
	testdatabase "github.com/imagewright/imagewright/test/database"
	testregistry "github.com/imagewright/imagewright/test/registry"
)

// published is when the test databases were made.
var published = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// newOptions has an empty cache and a registry with a database under db:2.
func newOptions(t *testing.T) (Options, string) {
	t.Helper()
	server := testregistry.ForTest(t, testregistry.Options{})
	client, err := registry.New(registry.Options{MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Kind:         Vulnerabilities(),
		CacheDir:     t.TempDir(),
		Repositories: []string{server.Addr() + "/db:2"},
		Registry:     client,
		Log:          slog.New(slog.DiscardHandler),
		Now:          func() time.Time { return published.Add(time.Minute) },
	}
	seed(t, server.Addr()+"/db:2", published)
	return opts, server.Addr()
}

func seed(t *testing.T, reference string, updated time.Time) v1.Hash {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	d, err := testdatabase.Seed(t.Context(), ref, testdatabase.Options{UpdatedAt: updated})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// counting counts what is asked of a registry.
type counting struct {
	Registry
	mu sync.Mutex
	n  int
}

func (c *counting) Descriptor(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Registry.Descriptor(ctx, ref)
}

func TestADatabaseIsDownloadedOnceWhileItIsFresh(t *testing.T) {
	opts, _ := newOptions(t)
	asked := &counting{Registry: opts.Registry}
	opts.Registry = asked
	at := published.Add(time.Minute)
	opts.Now = func() time.Time { return at }
	for _, tc := range []struct {
		name string
		at   time.Time
		want int // requests for the artifact so far
	}{
		{"the first time", at, 1},
		{"at once again", at, 1},
		{"before the next one is due", published.Add(23 * time.Hour), 1},
		{"when the next one is due", published.Add(25 * time.Hour), 2},
		{"within an hour, though the next one is late", published.Add(25*time.Hour + 50*time.Minute), 2},
		{"after that hour", published.Add(26*time.Hour + time.Minute), 3},
		{"when the clock was in the future", published, 4},
	} {
		at = tc.at
		got, err := Ready(t.Context(), opts)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if asked.n != tc.want {
			t.Errorf("%s: the registry was asked %d times in all, want %d", tc.name, asked.n, tc.want)
		}
		if !got.Metadata.UpdatedAt.Equal(published) || got.Metadata.Version != 2 || got.Metadata.Digest == "" || got.Metadata.DownloadedAt.IsZero() {
			t.Errorf("%s: metadata %+v", tc.name, got.Metadata)
		}
	}
}

func TestScansThatStartTogetherDownloadOnce(t *testing.T) {
	opts, _ := newOptions(t)
	asked := &counting{Registry: opts.Registry}
	opts.Registry = asked
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Ready(t.Context(), opts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked.n != 1 {
		t.Errorf("four scans asked the registry %d times, want 1", asked.n)
	}
}

func TestTheNextRepositoryIsTriedAndAllErrorsAreTold(t *testing.T) {
	opts, addr := newOptions(t)
	good := opts.Repositories[0]
	opts.Repositories = []string{"127.0.0.1:1/db:2", addr + "/none:2", good}
	got, err := Ready(t.Context(), opts)
	if err != nil {
		t.Fatalf("the last of three repositories has a database: %v", err)
	}
	if got.Metadata.Repository != good {
		t.Errorf("the database is said to be from %q, want %q", got.Metadata.Repository, good)
	}
	opts.CacheDir, opts.Repositories = t.TempDir(), opts.Repositories[:2]
	if _, err = Ready(t.Context(), opts); err == nil {
		t.Fatal("no repository has a database, and there is no error")
	}
	for _, want := range []string{"127.0.0.1:1/db:2: ", addr + "/none:2: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell of %q: %v", want, err)
		}
	}
}

func TestARepositoryWithoutATagMeansTheSchemasTag(t *testing.T) {
	opts, addr := newOptions(t)
	opts.Repositories = []string{addr + "/db"}
	if _, err := Ready(t.Context(), opts); err != nil {
		t.Errorf("%s/db is not taken for %[1]s/db:2: %v", addr, err)
	}
}

func TestADatabaseFromElsewhereIsNotKept(t *testing.T) {
	opts, addr := newOptions(t)
	if _, err := Ready(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	other := seed(t, addr+"/other:2", published)
	opts.Repositories = []string{addr + "/other:2"}
	got, err := Ready(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if got.Metadata.Digest != other.String() {
		t.Errorf("the database of another repository is used: %+v", got.Metadata)
	}
}

func TestAFailedUpdateIsAnErrorAndKeepsTheOldDatabase(t *testing.T) {
	opts, addr := newOptions(t)
	if _, err := Ready(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	before := content(t, opts.CacheDir)
	opts.Now = func() time.Time { return published.Add(48 * time.Hour) }
	for _, tc := range []struct {
		name  string
		spoil func(*Options)
	}{
		{"registry without it", func(o *Options) { o.Repositories = []string{addr + "/none:2"} }},
		{"a check that fails", func(o *Options) { o.Check = func(string) error { return errors.New("empty") } }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := opts
			tc.spoil(&o)
			if _, err := Ready(t.Context(), o); err == nil {
				t.Error("an update that failed is no error: the old database would be used in silence")
			}
			after := content(t, o.CacheDir)
			if len(after) != len(before) || after["db/trivy.db"] != before["db/trivy.db"] || after["db/metadata.json"] != before["db/metadata.json"] {
				t.Errorf("the cache changed: %d files before, %d after", len(before), len(after))
			}
		})
	}
	opts.SkipUpdate = true
	if _, err := Ready(t.Context(), opts); err != nil {
		t.Errorf("with skip-db-update the old database is not used: %v", err)
	}
}

// content is all files below dir but the lock.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(d.Name()) == ".lock" {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAnUpdateReplacesTheWholeDirectory(t *testing.T) {
	opts, addr := newOptions(t)
	if _, err := Ready(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	// What an older or killed run may have left.
	for _, path := range []string{"db/extra", ".tmp-db-123/trivy.db"} {
		path = filepath.Join(opts.CacheDir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	opts.Now = func() time.Time { return published.Add(48 * time.Hour) }
	newer := seed(t, addr+"/db:2", published.Add(47*time.Hour))
	got, err := Ready(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if got.Metadata.Digest != newer.String() {
		t.Errorf("digest %s, want that of the new database, %s", got.Metadata.Digest, newer)
	}
	files := content(t, opts.CacheDir)
	if len(files) != 2 || files["db/trivy.db"] == "" || files["db/metadata.json"] == "" {
		t.Errorf("the cache holds more than the new database: %d files", len(files))
	}
}

// A reader never finds no database or half a one while another process updates.
func TestReadersAlwaysFindADatabase(t *testing.T) {
	cache := t.TempDir()
	kind := Vulnerabilities()
	dir := filepath.Join(cache, kind.folder)
	fresh := func(text string) string {
		d := filepath.Join(t.TempDir(), "fresh")
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{kind.file, fileMetadata} {
			if err := os.WriteFile(filepath.Join(d, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	if err := kind.replace(dir, fresh("first")); err != nil {
		t.Fatal(err)
	}
	if err := exchange(dir, fresh("probe")); err != nil {
		t.Logf("this file system cannot exchange names (%v): readers may find nothing for a moment, and fail", err)
		return
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := os.ReadFile(filepath.Join(dir, kind.file)); err != nil {
				t.Errorf("a reader finds no database: %v", err)
				return
			}
		}
	})
	for range 50 {
		if err := kind.replace(dir, fresh("next")); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}
