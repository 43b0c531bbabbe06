package scan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/scan/analysis"
)

// unread is returned when files of the image should have been understood and
// were not: what is in them, nobody knows.
type unread struct{ Problems []analysis.Problem }

// maxProblems bounds the problems that an error lists.
const maxProblems = 5

func (e *unread) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no verdict: %s of the image could not be read", count(len(e.Problems), "file"))
	for _, p := range e.Problems[:min(len(e.Problems), maxProblems)] {
		fmt.Fprintf(&b, "; %s", ci.Printable(p.String())) // a path may have any bytes
	}
	if more := len(e.Problems) - maxProblems; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

func (e *unread) ExitCode() int { return fault.ExitFailed }

func (e *unread) Hint() string {
	return "repair or remove these files in the image; a scan that skips them proves nothing"
}

// count is n of a noun: "1 package", "2 packages".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// check refuses what no verdict can be based on. Unless allowEmpty, something
// must have been looked up.
func check(all []*inspected, p plan, allowEmpty bool) error {
	var problems []analysis.Problem
	for _, one := range all {
		problems = append(problems, one.Problems...)
	}
	if len(problems) > 0 {
		return &unread{problems}
	}
	for _, one := range all {
		if p.vulnerabilities && !allowEmpty && one.lookedUp(p.pkgTypes) == 0 {
			return fault.Failed(fmt.Errorf("no verdict: no package was found in %s, so nothing could be checked", one.image.Digest),
				"set allow-empty=true if that is right, as for a static program without build information")
		}
	}
	return nil
}

// lookedUp is the number of packages of these types; of all where there are none.
func (one *inspected) lookedUp(pkgTypes []string) int {
	libraries := one.Packages - one.SystemPackages
	switch {
	case len(pkgTypes) == 0:
		return one.Packages
	case !slices.Contains(pkgTypes, types.PkgTypeLibrary):
		libraries = 0
	case !slices.Contains(pkgTypes, types.PkgTypeOS):
		return libraries
	}
	return one.SystemPackages + libraries
}
