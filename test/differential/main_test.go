// Package differential holds imagewright-scan to what it promises: to find what
// Trivy finds.
//
// Each fixture is an image that the test makes. The built imagewright-scan and
// Trivy's own program read the same file with the same database, and what they
// report is compared fact by fact: every package, vulnerability and secret with
// all that is said of it. Where the two shall differ, differences.yaml says so
// with a reason; an entry that no image needs any more fails the test too.
//
// `go test` takes a few images, `go test -full` (make test-differential) all.
package differential

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

// Programs under test, as `make build tools` makes them.
func ours() string  { return filepath.Join("..", "..", "bin", "imagewright-scan") }
func trivy() string { return filepath.Join("..", "..", "bin", "tools", "trivy") }

func TestMain(m *testing.M) {
	flag.Bool("full", false, "compare all images, not a few")
	for _, program := range []string{ours(), trivy()} {
		if _, err := os.Stat(program); err != nil {
			fmt.Fprintf(os.Stderr, "%v\nthe programs to compare are built first: make build tools\n", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// full tells whether all images are to be compared.
func full() bool { return flag.Lookup("full").Value.String() == "true" }

// fixtures are all images, grouped as the files of this folder are.
func fixtures(src sources) []fixture {
	return slices.Concat(
		debianFixtures(src),
		ubuntuFixtures(src),
		apkFixtures(src),
		rpmFixtures(src),
		layerFixtures(src),
		languageFixtures(src),
		bomFixtures(src),
		secretFixtures(src),
		everyConfig(src),
		wholeFixtures(src),
	)
}

func TestImagewrightFindsWhatTrivyFinds(t *testing.T) {
	agreed := readAgreement(t)
	src := newSources(t)
	s := newScanners(t, src)
	all := fixtures(src)
	var ran atomic.Int64
	t.Cleanup(func() { // when all images are done
		if ran.Load() < int64(len(all)) { // not -full, or -run
			return
		}
		for _, entry := range agreed.unused() {
			t.Errorf("differences.yaml: no image needs this entry any more: %s", entry)
		}
	})
	for _, f := range all {
		if !full() && !f.quick {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			ran.Add(1)
			left := agreed.apply(f.name, s.compare(t, f))
			if len(left) > 0 {
				t.Errorf("%d differences that differences.yaml does not know:\n%s", len(left), describe(left))
			}
		})
	}
}
