package scan

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
)

// plan is the inputs, checked and ready for use.
type plan struct {
	source   string       // "" is the image that build recorded
	platform *v1.Platform // nil is all

	vulnerabilities, secrets bool     // what to look for
	pkgTypes                 []string // Trivy's: os, library

	failOn   []finding.Severity
	statuses []dbtypes.Status // whose vulnerabilities are left out
	grace    time.Duration    // how young a vulnerability may be to pass; 0 for no such

	shown        []finding.Severity
	format       string // of standard output
	reports      []reportFile
	listPackages bool // in JSON, all of them
	statement    bool // build left a statement about the packages to scan; known when its record is read

	cache string
}

func (in *Inputs) plan(job *step.Job) (plan, error) {
	p := plan{format: in.Format, listPackages: in.ListAllPkgs}
	var err error
	if p.cache, err = cacheDir(in.CacheDir, job); err != nil {
		return p, err
	}
	if p.source, err = onlyOne(in.Source, in.ImageRef, in.Input); err != nil {
		return p, err
	}
	if p.platform, err = parsePlatform(in.Platform); err != nil {
		return p, err
	}
	if err := p.search(in.Search); err != nil {
		return p, err
	}
	if p.failOn, err = severitiesToFailOn(in.FailOn); err != nil {
		return p, err
	}
	if p.statuses, err = statusesToLeaveOut(in.IgnoreUnfixed, in.IgnoreStatus); err != nil {
		return p, err
	}
	if p.shown, err = severitiesToShow(in.Severity); err != nil {
		return p, err
	}
	if p.reports, err = reportFiles(in.Output, job); err != nil {
		return p, err
	}
	if in.Output.Output != "" {
		p.format = formatTable // the document itself goes to the file
	}
	if in.GraceDays < 0 {
		return p, fault.Usage(fmt.Errorf("input grace-days: %d is not accepted; want 0 or more", in.GraceDays), "")
	}
	p.grace = time.Duration(in.GraceDays) * 24 * time.Hour
	return p, auth.CheckLogin(in.Username, in.Password, "IMAGEWRIGHT_SCAN_PASSWORD")
}

// search reads what to look for.
func (p *plan) search(in Search) error {
	for _, s := range in.Scanners {
		switch s {
		case "vuln":
			p.vulnerabilities = true
		case "secret":
			p.secrets = true
		default:
			return fault.Usage(fmt.Errorf("input scanners: %q is not accepted; want vuln, secret, or both", s), "")
		}
	}
	if !p.vulnerabilities && !p.secrets {
		return fault.Usage(errors.New("input scanners: nothing to look for"), "name vuln, secret, or both")
	}
	if len(in.PkgTypes) > 0 && len(in.VulnType) > 0 {
		return fault.Usage(errors.New("inputs pkg-types and vuln-type: only one of them can be given"), "")
	}
	for _, t := range slices.Concat(in.PkgTypes, in.VulnType) {
		if !slices.Contains(types.PkgTypes, t) {
			return fault.Usage(fmt.Errorf("input pkg-types: %q is not accepted; want %s", t, strings.Join(types.PkgTypes, ", ")), "")
		}
		p.pkgTypes = append(p.pkgTypes, t)
	}
	if p.pkgTypes == nil {
		p.pkgTypes = types.PkgTypes
	}
	return nil
}

// onlyOne returns the image that one of the three inputs names.
func onlyOne(source, imageRef, input string) (string, error) {
	given := slices.DeleteFunc([]string{source, imageRef, input}, func(s string) bool { return s == "" })
	switch len(given) {
	case 0:
		return "", nil
	case 1:
		return given[0], nil
	}
	return "", fault.Usage(errors.New("inputs source, image-ref and input: only one of them can name the image"), "")
}

// parsePlatform returns nil for no platform.
func parsePlatform(input string) (*v1.Platform, error) {
	if input == "" {
		return nil, nil
	}
	p, err := v1.ParsePlatform(input)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return nil, fault.Usage(fmt.Errorf("input platform: %q is not accepted; want OS/ARCH, such as linux/arm64", input), "")
	}
	return p, nil
}

// statusesToLeaveOut reads both inputs as Trivy does: unfixed is every status
// but fixed, and a list of statuses counts instead.
func statusesToLeaveOut(unfixed bool, names []string) ([]dbtypes.Status, error) {
	var statuses []dbtypes.Status
	if len(names) == 0 && unfixed {
		for i := range dbtypes.Statuses {
			if s := dbtypes.Status(i); s != dbtypes.StatusFixed {
				statuses = append(statuses, s)
			}
		}
	}
	for _, name := range names {
		if !slices.Contains(dbtypes.Statuses, name) {
			return nil, fault.Usage(fmt.Errorf("input ignore-status: %q is not accepted; want %s", name, strings.Join(dbtypes.Statuses, ", ")), "")
		}
		statuses = append(statuses, dbtypes.NewStatus(name))
	}
	return statuses, nil
}

// cacheDir is where databases and what was found are kept, by the XDG base
// directory rules.
//
// In a run for a fork everybody can put a database without advisories, or an
// answer that says nothing, into the checkout: a cache there does not count.
func cacheDir(input string, job *step.Job) (string, error) {
	var dirs []string
	if input != "" {
		dirs = append(dirs, job.Abs(input))
	}
	if dir := job.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) { // a relative one is to be ignored
		dirs = append(dirs, filepath.Join(dir, "imagewright"))
	}
	if home := job.Getenv("HOME"); filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, ".cache", "imagewright"))
	}
	dirs = append(dirs, filepath.Join(job.Workspace, "cache"))
	if !job.CI.Fork || !inCheckout(job.Dir, dirs[0]) {
		return dirs[0], nil
	}
	for _, dir := range dirs[1:] {
		if !inCheckout(job.Dir, dir) {
			job.Log.Warn("the cache in the checkout is not used in a run for a fork, which could have filled it", "cache-dir", job.Rel(dirs[0]), "instead", dir)
			return dir, nil
		}
	}
	return "", fault.Failed(fmt.Errorf("cache-dir %s: it is in the checkout, which a fork could have filled", job.Rel(dirs[0])), "set cache-dir or HOME to a directory outside of it")
}
