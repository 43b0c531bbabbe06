package detection

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fixtures "github.com/aquasecurity/bolt-fixtures"

	"github.com/imagewright/imagewright/internal/fault"
)

// seeded makes a database from YAML files and returns its folder.
func seeded(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	l, err := fixtures.New(filepath.Join(dir, databaseFile), files)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, files ...string) *Database {
	t.Helper()
	d, err := Open(seeded(t, files...))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

const (
	advisories      = "testdata/advisories.yaml"
	vulnerabilities = "testdata/vulnerabilities.yaml"
)

func TestOpenRefusesWhatWouldLetEveryImagePass(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   []string
		damage  func(t *testing.T, dir string)
		want    error
		mention string
	}{
		{"no database", nil, func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, databaseFile)) }, ErrMissing, "db-repository"},
		{"an empty folder", nil, func(t *testing.T, dir string) { os.RemoveAll(dir); os.Mkdir(dir, 0o755) }, ErrMissing, ""},
		{"nothing in it", []string{}, func(*testing.T, string) {}, ErrEmpty, "every image would pass"},
		{"details and no advisories", []string{vulnerabilities}, func(*testing.T, string) {}, ErrEmpty, ""},
		{"advisories and no details", []string{advisories}, func(*testing.T, string) {}, ErrEmpty, ""},
		{"an empty file", nil, func(t *testing.T, dir string) { write(t, filepath.Join(dir, databaseFile), "") }, ErrDamaged, ""},
		{"another kind of file", nil, func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, databaseFile), strings.Repeat("no database ", 10000))
		}, ErrDamaged, ""},
		{"a file cut in half", nil, func(t *testing.T, dir string) { cut(t, dir, 2) }, ErrDamaged, ""},
		{"a file cut after its head", nil, func(t *testing.T, dir string) { cut(t, dir, 8) }, ErrDamaged, ""},
		{"garbage in the pages", nil, scramble, ErrDamaged, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := tc.files
			if files == nil {
				files = []string{advisories, vulnerabilities}
			}
			dir := seeded(t, files...)
			tc.damage(t, dir)
			before, _ := os.ReadFile(filepath.Join(dir, databaseFile))
			d, err := Open(dir)
			if err == nil {
				d.Close()
				t.Fatal("Open returned no error")
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error()+fault.Hint(err), tc.mention) || !strings.Contains(err.Error(), dir) {
				t.Errorf("Open: %v (%s); want %q, with %q and the folder's name", err, fault.Hint(err), tc.want, tc.mention)
			}
			if fault.Code(err) != fault.ExitFailed {
				t.Errorf("exit code %d, want %d", fault.Code(err), fault.ExitFailed)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, databaseFile)); string(after) != string(before) {
				t.Error("the database was changed or deleted")
			}
		})
	}
}

// cut leaves 1/n of the database's file.
func cut(t *testing.T, dir string, n int64) {
	t.Helper()
	path := filepath.Join(dir, databaseFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/n); err != nil {
		t.Fatal(err)
	}
}

// scramble overwrites all pages but the two that describe the file.
func scramble(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, databaseFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 2 * os.Getpagesize(); i < len(data); i++ {
		data[i] = 0xa5
	}
	write(t, path, string(data))
}

func TestOneDatabaseAtATime(t *testing.T) {
	first := opened(t, advisories, vulnerabilities)
	other := seeded(t, advisories, vulnerabilities)
	if d, err := Open(other); err == nil {
		d.Close()
		t.Fatal("a second database was opened beside the first")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(other)
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	d.Close()
}
