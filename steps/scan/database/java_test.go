package database

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	testdatabase "github.com/imagewright/imagewright/test/database"
)

// newJavaOptions has an empty cache and a registry with an index under java:1,
// and a vulnerability database beside it.
func newJavaOptions(t *testing.T) Options {
	t.Helper()
	opts, addr := newOptions(t)
	opts.Kind, opts.Repositories = Java(), []string{addr + "/java"}
	ref, err := name.ParseReference(addr + "/java:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testdatabase.SeedJava(t.Context(), ref, testdatabase.JavaOptions{UpdatedAt: published}); err != nil {
		t.Fatal(err)
	}
	return opts
}

func TestBothDatabasesStandInOneCache(t *testing.T) {
	java := newJavaOptions(t)
	vulnerabilities := java
	vulnerabilities.Kind, vulnerabilities.Repositories = Vulnerabilities(), []string{strings.TrimSuffix(java.Repositories[0], "java") + "db"}
	for _, opts := range []Options{java, vulnerabilities} {
		got, err := Ready(t.Context(), opts)
		if err != nil {
			t.Fatalf("%s: %v", opts.Kind.Name, err)
		}
		if got.Metadata.Version != opts.Kind.Schema {
			t.Errorf("%s: metadata %+v, want version %d", opts.Kind.Name, got.Metadata, opts.Kind.Schema)
		}
	}
	files := content(t, java.CacheDir)
	for _, want := range []string{"db/trivy.db", "db/metadata.json", "java-db/trivy-java.db", "java-db/metadata.json"} {
		if files[want] == "" {
			t.Errorf("the cache does not hold %s, where Trivy looks for it", want)
		}
		delete(files, want)
	}
	if len(files) > 0 {
		t.Errorf("the cache holds %d files more than the two databases", len(files))
	}
}

// The index is published every few days, and is large.
func TestTheJavaIndexIsKeptForADay(t *testing.T) {
	opts := newJavaOptions(t)
	asked := &counting{Registry: opts.Registry}
	opts.Registry = asked
	at := published
	opts.Now = func() time.Time { return at }
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name string
		at   time.Time
		want int // requests for the artifact so far
	}{
		{"the first time", published.Add(time.Minute), 1},
		{"before the next one is due", published.Add(3*day - time.Minute), 1},
		{"when the next one is due", published.Add(3*day + time.Minute), 2},
		{"within a day, though the next one is late", published.Add(4 * day), 2},
		{"after that day", published.Add(4*day + 2*time.Minute), 3},
	} {
		at = tc.at
		if _, err := Ready(t.Context(), opts); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if asked.n != tc.want {
			t.Errorf("%s: the registry was asked %d times in all, want %d", tc.name, asked.n, tc.want)
		}
	}
}

func TestErrorsSpeakOfTheJavaIndexAndItsInputs(t *testing.T) {
	good := newJavaOptions(t)
	for _, tc := range []struct {
		name  string
		spoil func(*Options)
		want  []string
	}{
		{"no repository", func(o *Options) { o.Repositories = nil }, []string{"Java index"}},
		{"a repository without it", func(o *Options) { o.Repositories[0] += "-none" }, []string{"Java index: ", "/java-none"}},
		{"the other database", func(o *Options) { o.Repositories[0] = strings.TrimSuffix(o.Repositories[0], "java") + "db:2" }, []string{"is no Java index", "javadb.layer"}},
		{"nothing downloaded yet", func(o *Options) { o.SkipUpdate = true }, []string{"no Java index in", "skip-java-db-update"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := good
			o.CacheDir, o.Repositories = t.TempDir(), []string{good.Repositories[0]}
			tc.spoil(&o)
			_, err := Ready(t.Context(), o)
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Ready says %v; want an error with %q", err, want)
				}
			}
		})
	}
}
