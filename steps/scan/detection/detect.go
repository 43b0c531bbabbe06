package detection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	detector "github.com/aquasecurity/trivy/pkg/detector/ospkg"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/scan/langpkg"
	"github.com/aquasecurity/trivy/pkg/scan/ospkg"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/aquasecurity/trivy/pkg/vulnerability"
	bolt "go.etcd.io/bbolt"

	"github.com/imagewright/imagewright/steps/scan/analysis"
)

// Options of Detect.
type Options struct {
	// Name is what the image is called; the distribution's result is then
	// "name (debian 12.5)".
	Name string
	// PkgTypes are "os" and "library". Default: both.
	PkgTypes []string
	// SeveritySources decide in this order whose severity counts. Default:
	// "auto", the vendor of the advisory, then the NVD.
	SeveritySources []dbtypes.SourceID
}

// UnmatchedError is a distribution's packages that can't be looked up.
type UnmatchedError struct {
	OS       ftypes.OS // zero: none is known
	Packages int
	Release  bool // the detectors cover OS, but the database has nothing about its release
}

func (e *UnmatchedError) Error() string {
	if e.OS.Family == "" {
		return fmt.Sprintf("%d packages of a distribution, but no file that says which", e.Packages)
	}
	if e.Release {
		return fmt.Sprintf("%d packages of %s %s, a release that the database has no advisories for", e.Packages, e.OS.Family, e.OS.Name)
	}
	return fmt.Sprintf("%d packages of %s %s, which Trivy's detectors don't cover", e.Packages, e.OS.Family, e.OS.Name)
}

// Hint says what to do.
func (e *UnmatchedError) Hint() string {
	if e.Release {
		return "build on a release that gets security updates, or name a database in db-repository that covers this one"
	}
	return "an image needs its release file, such as /etc/debian_version, as a regular file; without it no vulnerability would be found"
}

// Detect looks up what an image holds and returns Trivy's results: one for the
// distribution's packages, one for each application, each with its packages and
// the vulnerabilities in them, sorted as Trivy sorts, each once. The second
// value says whether the distribution is past its end of life.
//
// Packages that could not be matched are an [*UnmatchedError]; an image without
// any is an empty answer. A context from Trivy's clock package sets the time
// that end of life is compared with.
func (d *Database) Detect(ctx context.Context, detail *analysis.Detail, opts Options) (results types.Results, endOfLife bool, err error) {
	err = guard(func() error {
		results, endOfLife, err = detect(ctx, detail, opts)
		return err
	})
	if errors.Is(err, ErrDamaged) {
		err = describe(d.dir, err)
	}
	if err != nil {
		return nil, false, fmt.Errorf("detect vulnerabilities: %w", err)
	}
	return results, endOfLife, nil
}

// List is Detect without a database: the packages, and nothing about them.
func List(ctx context.Context, detail *analysis.Detail, opts Options) (types.Results, error) {
	results, _, err := scan(ctx, detail, opts, nil)
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	return results, nil
}

func detect(ctx context.Context, detail *analysis.Detail, opts Options) (types.Results, bool, error) {
	results, endOfLife, err := scan(ctx, detail, opts, types.Scanners{types.VulnerabilityScanner})
	if err != nil {
		return nil, false, err
	}
	sources := opts.SeveritySources
	if len(sources) == 0 {
		sources = []dbtypes.SourceID{"auto"} // with an empty list every severity is UNKNOWN
	}
	var details details
	for i := range results {
		vulns := results[i].Vulnerabilities
		vulnerability.NewClient(&details).FillInfo(vulns, sources)
		results[i].Vulnerabilities = unique(vulns)
		sort.Sort(types.BySeverity(results[i].Vulnerabilities))
	}
	return results, endOfLife, cmp.Or(details.err, ctx.Err())
}

// scan runs Trivy's scanners over what an image holds.
func scan(ctx context.Context, detail *analysis.Detail, opts Options, scanners types.Scanners) (types.Results, bool, error) {
	target := types.ScanTarget{
		Name:         opts.Name,
		OS:           System(detail),
		Repository:   detail.Repository,
		Packages:     slices.Clone(detail.Packages),
		Applications: slices.Clone(detail.Applications),
	}
	scan := types.ScanOptions{PkgTypes: opts.PkgTypes, Scanners: scanners}
	if scan.PkgTypes == nil {
		scan.PkgTypes = types.PkgTypes
	}
	var results types.Results
	var endOfLife bool
	if slices.Contains(scan.PkgTypes, types.PkgTypeOS) {
		result, eosl, err := system(ctx, target, scan)
		if err != nil {
			return nil, false, err
		}
		if result.Target != "" {
			results, endOfLife = append(results, result), eosl
		}
	}
	if slices.Contains(scan.PkgTypes, types.PkgTypeLibrary) {
		libraries, err := langpkg.NewScanner().Scan(ctx, target, scan)
		if err != nil {
			return nil, false, err
		}
		results = append(results, libraries...)
	}
	return results, endOfLife, nil
}

// System returns the distribution whose advisories are looked up: the image's,
// or, for Alpine packages without a release file, the release apk would
// install from.
func System(detail *analysis.Detail) ftypes.OS {
	if detail.OS.Detected() || detail.Repository == nil {
		return detail.OS
	}
	return ftypes.OS{Family: detail.Repository.Family, Name: detail.Repository.Release}
}

func system(ctx context.Context, target types.ScanTarget, scan types.ScanOptions) (types.Result, bool, error) {
	unmatched := &UnmatchedError{OS: target.OS, Packages: len(target.Packages)}
	if !scan.Scanners.Enabled(types.VulnerabilityScanner) {
		if !target.OS.Detected() {
			return types.Result{}, false, nil // a list needs no advisories, and has no name without a distribution
		}
		result, _, err := ospkg.NewScanner().Scan(ctx, target, scan)
		return result, false, err
	}
	if !target.OS.Detected() && len(target.Packages) > 0 {
		return types.Result{}, false, unmatched
	}
	result, endOfLife, err := ospkg.NewScanner().Scan(ctx, target, scan)
	if errors.Is(err, detector.ErrUnsupportedOS) {
		if len(target.Packages) > 0 {
			return types.Result{}, false, unmatched
		}
		return types.Result{}, false, nil
	}
	if err == nil && len(target.Packages) > 0 {
		var known bool
		if known, err = knowsRelease(target); err == nil && !known {
			unmatched.Release = true
			return types.Result{}, false, unmatched
		}
	}
	return result, endOfLife, err
}

// knowsRelease tells whether the database has advisories for the release that
// the packages of Debian, Ubuntu and Alpine are looked up in. To the detectors
// one it never heard of (sid, or next year's) is one without a flaw.
func knowsRelease(target types.ScanTarget) (known bool, err error) {
	release := target.OS.Name
	switch repository := target.Repository; target.OS.Family {
	case ftypes.Debian:
		release = version.Major(release)
	case ftypes.Alpine:
		if repository != nil && repository.Release != "" {
			release = repository.Release
		}
		release = version.Minor(release)
	case ftypes.Ubuntu:
	default:
		return true, nil
	}
	err = trivydb.Config{}.Connection().View(func(tx *bolt.Tx) error {
		bucket := string(target.OS.Family) + " " + release
		known = tx.Bucket([]byte(bucket)) != nil || target.OS.Extended && tx.Bucket([]byte(bucket+"-ESM")) != nil
		return nil
	})
	return known, err
}

// unique keeps one of each vulnerability of a package, of several the one with
// the greatest fixed version, as Trivy does.
func unique(vulns []types.DetectedVulnerability) []types.DetectedVulnerability {
	type key struct{ id, pkgID, name, version, path string }
	at := map[key]int{}
	var kept []types.DetectedVulnerability
	for _, v := range vulns {
		k := key{v.VulnerabilityID, v.PkgID, v.PkgName, v.InstalledVersion, v.PkgPath}
		i, ok := at[k]
		switch {
		case !ok:
			at[k] = len(kept)
			kept = append(kept, v)
		case kept[i].FixedVersion < v.FixedVersion:
			kept[i] = v
		}
	}
	return kept
}

// details reads what is known about a vulnerability, and remembers the first
// entry that is there and can't be read: Trivy takes it for one that is not
// there, and its severity would be unknown instead of critical.
type details struct {
	trivydb.Config
	err error
}

func (d *details) GetVulnerability(id string) (dbtypes.Vulnerability, error) {
	v, err := d.Config.GetVulnerability(id)
	if err == nil || d.err != nil {
		return v, err
	}
	viewErr := d.Connection().View(func(tx *bolt.Tx) error {
		if tx.Bucket([]byte("vulnerability")).Get([]byte(id)) != nil {
			d.err = fmt.Errorf("details of %s: %w: %w", id, ErrDamaged, err)
		}
		return nil
	})
	d.err = cmp.Or(d.err, viewErr)
	return v, err
}
