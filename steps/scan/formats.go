package scan

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/step"
)

// Formats of reports. Those of SBOMs are the parser's to render.
const (
	formatTable       = "table" // on standard output, or in the file that output names
	formatJSON        = "json"
	formatSARIF       = "sarif"
	formatGitLab      = "gitlab"
	formatCodeQuality = "codequality"
	formatJUnit       = "junit"
	formatMarkdown    = "markdown"
	formatCycloneDX   = "cyclonedx"
	formatSPDX        = "spdx-json"
)

// gitlabFile is where GitLab finds its report.
const gitlabFile = "scan-gitlab.json"

// formats are those that the input reports takes.
func formats() []string {
	return []string{formatJSON, formatSARIF, formatGitLab, formatCodeQuality, formatJUnit, formatMarkdown, formatCycloneDX, formatSPDX}
}

// isSBOM tells whether a format lists packages and not findings.
func isSBOM(format string) bool { return format == formatCycloneDX || format == formatSPDX }

// reportFile is one report to write.
type reportFile struct{ format, path string }

func reportFiles(in Output, job *step.Job) ([]reportFile, error) {
	var files []reportFile
	if len(in.Reports) == 0 {
		files = defaultReports(job)
	}
	add := func(input, format, path string) error {
		file := reportFile{format, job.Abs(path)}
		if slices.ContainsFunc(files, func(f reportFile) bool { return f.path == file.path }) {
			return fault.Usage(fmt.Errorf("input %s: %s is named twice", input, path), "")
		}
		files = append(files, file)
		return nil
	}
	for _, text := range in.Reports {
		format, path, ok := strings.Cut(text, "=")
		if !ok || path == "" || !slices.Contains(formats(), format) {
			return nil, fault.Usage(fmt.Errorf("input reports: %q is not accepted; want FORMAT=PATH, with one of %s", text, strings.Join(formats(), ", ")), "")
		}
		if err := add("reports", format, path); err != nil {
			return nil, err
		}
	}
	if in.Output != "" {
		if err := add("output", in.Format, in.Output); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func defaultReports(job *step.Job) []reportFile {
	dir := filepath.Join(job.Workspace, "reports")
	return []reportFile{
		{formatJSON, filepath.Join(dir, "scan.json")},
		{formatSARIF, filepath.Join(dir, "scan.sarif")},
		{formatGitLab, filepath.Join(dir, gitlabFile)},
	}
}

// sbomFormats are the formats of SBOMs that are asked for, each once.
func (p plan) sbomFormats() []string {
	wanted := []string{p.format}
	for _, f := range p.reports {
		wanted = append(wanted, f.format)
	}
	if p.statement {
		wanted = append(wanted, statementFormat)
	}
	return slices.DeleteFunc(formats(), func(format string) bool { return !isSBOM(format) || !slices.Contains(wanted, format) })
}

// outsideNames is what a platform's name must not bring into a file's.
var outsideNames = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// ofPlatform is path for the image of one of several platforms: hello.spdx.json
// becomes hello-linux-amd64.spdx.json.
func ofPlatform(path, platform string) string {
	dir, base := filepath.Split(path)
	name, ending, _ := strings.Cut(base, ".")
	if ending != "" {
		ending = "." + ending
	}
	return filepath.Join(dir, name+"-"+outsideNames.ReplaceAllString(platform, "-")+ending)
}

// reportPath returns the first report of a format, as outputs name it.
func reportPath(files []reportFile, format string, job *step.Job) string {
	i := slices.IndexFunc(files, func(f reportFile) bool { return f.format == format })
	if i < 0 {
		return ""
	}
	return job.Rel(files[i].path)
}
