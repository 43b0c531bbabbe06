package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/database"
)

// Whatever keeps the scan from knowing, the exit code is not 0 and no pass
// stands in the record: not this run's, and not that of an earlier one.
func TestAScanThatGivesUpLeavesNoPass(t *testing.T) {
	c := newCheckout(t)
	repository := strings.TrimSuffix(c.db, "/db:2")
	seed(t, repository+"/empty:2", database.Options{Fixtures: []string{}})
	seed(t, repository+"/newer:2", database.Options{Version: 3})
	seed(t, repository+"/older:2", database.Options{Version: 1})
	pushImage(t, repository+"/no-database:2", compose(t, debian(dpkgHead)))

	for _, tc := range []struct {
		name  string
		image []map[string]string // the image; nil is a good one
		spoil func(t *testing.T, c *checkout)
		cache bool // keep the database of the scan before
		args  []string
		code  int
		want  string // in the log
	}{
		{"no database in the registry", nil, nil, false, []string{"--db-repository=" + repository + "/nothing:2"}, 1, "nothing:2: "},
		{"no registry", nil, nil, false, []string{"--db-repository=127.0.0.1:1/db:2"}, 1, "127.0.0.1:1/db:2: "},
		{"no database in any of two registries", nil, nil, false, []string{"--db-repository=127.0.0.1:1/db:2," + repository + "/nothing:2"}, 1, "127.0.0.1:1/db:2: "},
		{"no database in the cache", nil, nil, false, []string{"--skip-db-update"}, 1, "no vulnerability database in "},
		{"an empty database", nil, nil, false, []string{"--db-repository=" + repository + "/empty:2"}, 1, "no advisories"},
		{"a database of a newer schema", nil, nil, false, []string{"--db-repository=" + repository + "/newer:2"}, 1, "schema version 3; this program reads version 2; use a newer imagewright-scan"},
		{"a database of an older schema", nil, nil, false, []string{"--db-repository=" + repository + "/older:2"}, 1, "schema version 1"},
		{"an image in the database's place", nil, nil, false, []string{"--db-repository=" + repository + "/no-database:2"}, 1, "is no vulnerability database"},
		{"a damaged database in the cache", nil, cutDatabase, true, []string{"--skip-db-update"}, 1, "damaged"},
		{"a layer cut short", nil, cutLayer, false, nil, 1, "are expected"},
		{"a layer of another content", nil, flipLayer, false, nil, 1, "has another content"},
		{"a layer that is missing", nil, removeLayer, false, nil, 1, "is missing"},
		{"no image", nil, removeImage, false, nil, 2, "no image in .imagewright/image; run imagewright-build first, or set source"},
		{"a parser that gives up", []map[string]string{debian(dpkgHead), {"usr/lib/sysimage/rpm/rpmdb.sqlite": "SQLite format 3\x00"}}, nil, false, nil, 1, "no verdict: 1 file of the image could not be read; usr/lib/sysimage/rpm/rpmdb.sqlite"},
		{"packages of an unknown distribution", []map[string]string{{"var/lib/dpkg/status": dpkgHead}}, nil, false, nil, 1, "no file that says which"},
		{"a release that the database does not know", []map[string]string{{"etc/debian_version": "forky/sid\n", "var/lib/dpkg/status": dpkgHead}}, nil, false, nil, 1, "packages of debian forky/sid, a release that the database has no advisories for"},
		{"no package at all", []map[string]string{{"bin/tool": "not a program"}}, nil, false, nil, 1, "no verdict: no package was found in sha256:"},
		{"a report that cannot be written", nil, nil, false, []string{"--reports=sarif=/proc/nothing/scan.sarif"}, 1, "report: "},
		{"a record of a newer version", nil, newerRecord, false, nil, 2, "has version 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &checkout{dir: t.TempDir(), cache: t.TempDir(), db: c.db}
			passBefore(t, c)
			if tc.image != nil {
				c.build(t, tc.image...)
			}
			if tc.spoil != nil {
				tc.spoil(t, c)
			}
			if !tc.cache {
				c.cache = t.TempDir()
			}
			r := c.scan(t, tc.args...)
			r.wantCode(t, tc.code)
			wantText(t, "stderr", r.stderr, tc.want)
			wantNoPass(t, c)
		})
	}
}

// passBefore is a scan that passed, as of an earlier run of the pipeline.
func passBefore(t *testing.T, c *checkout) {
	t.Helper()
	c.build(t, debian(dpkgClean))
	c.scan(t).wantCode(t, 0)
	if s, err := record.Read[record.Scan](c.workspace(), "scan"); err != nil || s.Verdict != record.Pass {
		t.Fatalf("no pass to begin with: %+v, %v", s, err)
	}
}

func wantNoPass(t *testing.T, c *checkout) {
	t.Helper()
	s, err := record.Read[record.Scan](c.workspace(), "scan")
	if !errors.Is(err, record.ErrNotFound) && s.Verdict != record.Fail {
		t.Errorf("after giving up the record says %+v (%v); want none", s, err)
	}
	if out := c.outputs(t); !strings.Contains(out, "IW_SCAN_VERDICT=fail\n") {
		t.Errorf("after giving up the outputs say:\n%s", out)
	}
	for _, file := range []string{"scan.json", "scan.sarif"} {
		if _, err := os.Stat(filepath.Join(c.workspace(), "reports", file)); !os.IsNotExist(err) {
			t.Errorf("the report %s of the run before still stands (%v)", file, err)
		}
	}
}

func pushImage(t *testing.T, reference string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func cutDatabase(t *testing.T, c *checkout) {
	change(t, filepath.Join(c.cache, "db", "trivy.db"), func(b []byte) []byte { return b[:len(b)/2] })
}

func cutLayer(t *testing.T, c *checkout) {
	change(t, layerFile(t, c), func(b []byte) []byte { return b[:len(b)/2] })
}

func flipLayer(t *testing.T, c *checkout) {
	change(t, layerFile(t, c), func(b []byte) []byte {
		b[len(b)-1] ^= 1 // in the checksum at the end: the files themselves can still be read
		return b
	})
}

func removeLayer(t *testing.T, c *checkout) {
	if err := os.Remove(layerFile(t, c)); err != nil {
		t.Fatal(err)
	}
}

func removeImage(t *testing.T, c *checkout) {
	if err := os.RemoveAll(filepath.Join(c.workspace(), "image")); err != nil {
		t.Fatal(err)
	}
}

func newerRecord(t *testing.T, c *checkout) {
	change(t, filepath.Join(c.workspace(), "record", "build.json"), func([]byte) []byte { return []byte(`{"version":2}`) })
}

// layerFile is the blob of the first layer that build put into the layout.
func layerFile(t *testing.T, c *checkout) string {
	t.Helper()
	layers, err := compose(t, debian(dpkgClean)).Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(c.workspace(), "image", "blobs", "sha256", d.Hex)
}

func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAnEmptyImagePassesOnlyWhenAllowed(t *testing.T) {
	c := newCheckout(t)
	c.build(t, map[string]string{"bin/tool": "not a program"})
	r := c.scan(t, "--allow-empty")
	r.wantCode(t, 0)
	wantText(t, "stderr", r.stderr, "no package was found, so nothing was checked")
	wantText(t, "stdout", r.stdout, "0 packages", "no findings")
}

// Who looks for secrets alone needs no packages.
func TestAnImageWithoutPackagesCanBeSearchedForSecrets(t *testing.T) {
	c := newCheckout(t)
	c.build(t, map[string]string{"bin/tool": "not a program"})
	r := c.scan(t, "--scanners=secret")
	r.wantCode(t, 0)
	if strings.Contains(r.stderr, "nothing was checked") {
		t.Errorf("the log says that nothing was checked:\n%s", r.stderr)
	}
	c.build(t, map[string]string{"app/key": "export AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF\n"})
	c.scan(t, "--scanners=secret").wantCode(t, 3)
}

func TestAProblemThatALaterLayerRemovesIsNone(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgClean), map[string]string{"var/lib/rpm/rpmdb.sqlite": "?"}, map[string]string{"var/lib/rpm/.wh.rpmdb.sqlite": ""})
	c.scan(t).wantCode(t, 0)
}

func TestATimeoutIsNoVerdict(t *testing.T) {
	c := newCheckout(t)
	passBefore(t, c)
	r := c.scan(t, "--timeout=1ns")
	r.wantCode(t, 1)
	wantText(t, "stderr", r.stderr, "not finished after 1ns", "set timeout")
	wantNoPass(t, c)
}

func TestAScanThatIsStoppedLeavesNoPass(t *testing.T) {
	c := newCheckout(t)
	passBefore(t, c)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("stopped"))
	r := c.scanContext(ctx)
	r.wantCode(t, 1)
	wantNoPass(t, c)
}

// The end of life of Debian 7 is years back on every machine.
func TestEndOfLifeIsAWarning(t *testing.T) {
	c := newCheckout(t)
	c.db = strings.TrimSuffix(c.db, "/db:2") + "/old:2"
	seed(t, c.db, database.Options{Fixtures: []string{"testdata/debian7.yaml"}})
	c.build(t, map[string]string{"etc/debian_version": "7.11\n", "var/lib/dpkg/status": dpkgClean})
	r := c.scan(t)
	r.wantCode(t, 0)
	wantText(t, "stderr", r.stderr, "debian 7.11 gets no security updates any more")
	wantText(t, "stdout", r.stdout, "debian 7.11 (end of life)")
	if os := c.report(t).Metadata.OS; os == nil || !os.Eosl {
		t.Errorf("the report does not say that the distribution is at its end: %+v", os)
	}
}

// Who removes the list of packages hides them from every scanner.
func TestADistributionWithoutItsListOfPackagesIsAWarning(t *testing.T) {
	c := newCheckout(t)
	c.build(t, map[string]string{"etc/debian_version": "12.5\n", "usr/lib/node_modules/hello/package.json": `{"name": "hello", "version": "1.0.0"}`})
	r := c.scan(t)
	r.wantCode(t, 0)
	wantText(t, "stderr", r.stderr, "its list of packages is missing")
}
