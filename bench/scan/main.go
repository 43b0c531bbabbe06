// Command scan measures imagewright-scan against the trivy CLI: the same images,
// the same database, in turns. `make bench-scan` runs it; bench/README.md says
// what it measures and why.
//
// All it makes is in one temporary folder, which is gone when it ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/imagewright/imagewright/bench/trial"
	"github.com/imagewright/imagewright/test/database"
)

func main() { os.Exit(trial.Main("scan", "it makes a Debian with debootstrap, which needs", compare)) }

// setting is what one run of the benchmark works with.
type setting struct {
	trial.Trial
	scan, trivy string // the programs
	caches      string // folders with the database: one for each of the two
}

// compare takes all measurements and prints them.
func compare(ctx context.Context, t trial.Trial) error {
	s := setting{
		Trial:  t,
		scan:   filepath.Join(t.Root, "bin", "imagewright-scan"),
		trivy:  filepath.Join(t.Root, "bin", "tools", "trivy"),
		caches: filepath.Join(t.Work, "cache"),
	}
	for program, target := range map[string]string{s.scan: "build", s.trivy: "tools-differential"} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w; run: make %s", err, target)
		}
	}
	for _, cache := range []string{s.ourCache(), s.trivyCache()} {
		if err := database.Write(filepath.Join(cache, "db"), database.Options{}); err != nil {
			return err
		}
		if err := markDownloaded(filepath.Join(cache, "db")); err != nil {
			return err
		}
	}
	subjects, err := makeSubjects(ctx, s)
	if err != nil {
		return err
	}
	r := &result{loadBefore: trial.Load()}
	if err := errors.Join(s.versions(ctx, r), s.measure(ctx, subjects, r)); err != nil {
		return err
	}
	return r.print(os.Stdout)
}

func (s setting) ourCache() string   { return filepath.Join(s.caches, "imagewright") }
func (s setting) trivyCache() string { return filepath.Join(s.caches, "trivy") }
