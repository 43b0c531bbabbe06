package scan

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

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
	failOn   []finding.Severity
	shown    []finding.Severity
	reports  []reportFile
	cache    string
}

// reportFile is one report to write.
type reportFile struct{ format, path string }

func (in *Inputs) plan(job *step.Job) (plan, error) {
	var p plan
	var err error
	if p.source, err = onlyOne(in.Source, in.ImageRef, in.Input); err != nil {
		return p, err
	}
	if p.platform, err = parsePlatform(in.Platform); err != nil {
		return p, err
	}
	if p.failOn, err = severitiesToFailOn(in.FailOn); err != nil {
		return p, err
	}
	if p.shown, err = severitiesToShow(in.Severity); err != nil {
		return p, err
	}
	if p.reports, err = reportFiles(in.Reports, job); err != nil {
		return p, err
	}
	if err := auth.CheckLogin(in.Username, in.Password, "IMAGEWRIGHT_SCAN_PASSWORD"); err != nil {
		return p, err
	}
	p.cache = cacheDir(in.CacheDir, job)
	return p, nil
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

// severitiesToFailOn returns what fails, most severe first; none is nothing.
//
// A severity takes the worse ones with it, because nobody who stops at HIGH
// means to let CRITICAL through. UNKNOWN is not worse or better than another.
func severitiesToFailOn(names []string) ([]finding.Severity, error) {
	if len(names) == 1 && strings.EqualFold(names[0], "none") {
		return nil, nil
	}
	named, err := parseSeverities("fail-on", names)
	if err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return nil, fault.Usage(errors.New("input fail-on: no severity is named"), "write none to let everything pass")
	}
	var failOn []finding.Severity
	for _, s := range finding.Severities() {
		worse := func(n finding.Severity) bool { return n == s || n != finding.Unknown && n < s }
		if slices.ContainsFunc(named, worse) {
			failOn = append(failOn, s)
		}
	}
	return failOn, nil
}

// severitiesToShow returns what the table has: exactly what is named, or all.
func severitiesToShow(names []string) ([]finding.Severity, error) {
	if len(names) == 0 {
		return finding.Severities(), nil
	}
	return parseSeverities("severity", names)
}

func parseSeverities(input string, names []string) ([]finding.Severity, error) {
	var all []finding.Severity
	for _, n := range names {
		s, err := finding.ParseSeverity(n)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input %s: %w", input, err), "")
		}
		all = append(all, s)
	}
	return all, nil
}

// Formats of reports.
const (
	formatJSON  = "json"
	formatSARIF = "sarif"
)

func reportFiles(inputs []string, job *step.Job) ([]reportFile, error) {
	if len(inputs) == 0 {
		return defaultReports(job), nil
	}
	var files []reportFile
	for _, in := range inputs {
		format, path, ok := strings.Cut(in, "=")
		if !ok || path == "" || (format != formatJSON && format != formatSARIF) {
			return nil, fault.Usage(fmt.Errorf("input reports: %q is not accepted; want json=PATH or sarif=PATH", in), "")
		}
		file := reportFile{format, job.Abs(path)}
		if slices.ContainsFunc(files, func(f reportFile) bool { return f.path == file.path }) {
			return nil, fault.Usage(fmt.Errorf("input reports: %s is named twice", path), "")
		}
		files = append(files, file)
	}
	return files, nil
}

func defaultReports(job *step.Job) []reportFile {
	dir := filepath.Join(job.Workspace, "reports")
	return []reportFile{{formatJSON, filepath.Join(dir, "scan.json")}, {formatSARIF, filepath.Join(dir, "scan.sarif")}}
}

// cacheDir is where the database is kept, by the XDG base directory rules.
func cacheDir(input string, job *step.Job) string {
	if input != "" {
		return job.Abs(input)
	}
	if dir := job.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) { // a relative one is to be ignored
		return filepath.Join(dir, "imagewright")
	}
	if home := job.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "imagewright")
	}
	return filepath.Join(job.Workspace, "cache")
}

// fails tells whether one of the severities that fail has a finding.
func fails(counts finding.Counts, failOn []finding.Severity) bool {
	return slices.ContainsFunc(failOn, func(s finding.Severity) bool { return counts[s] > 0 })
}

// names returns severities in upper case, as the record and reports have them.
func names(severities []finding.Severity) []string {
	all := make([]string, len(severities))
	for i, s := range severities {
		all[i] = s.String()
	}
	return all
}

// failOnText is the policy as errors and summaries say it.
func failOnText(failOn []finding.Severity) string {
	if len(failOn) == 0 {
		return "fail-on none"
	}
	return "fail-on " + strings.ToLower(strings.Join(names(failOn), ","))
}

// refused is returned when the policy says no.
type refused struct {
	Digest string
	Counts finding.Counts
	FailOn []finding.Severity
}

func (e *refused) Error() string {
	return fmt.Sprintf("scan %s: %s; %s", e.Digest, e.Counts, failOnText(e.FailOn))
}

func (e *refused) ExitCode() int { return fault.ExitRefused }

func (e *refused) Hint() string {
	return "update what the table names, or change fail-on"
}
