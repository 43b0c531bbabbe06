package report

import (
	"encoding/json"
	"io"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
)

type codeQualityIssue struct {
	Description string              `json:"description"`
	CheckName   string              `json:"check_name"`
	Fingerprint string              `json:"fingerprint"`
	Severity    string              `json:"severity"`
	Location    codeQualityLocation `json:"location"`
}

type codeQualityLocation struct {
	Path  string           `json:"path"`
	Lines codeQualityLines `json:"lines"`
}

type codeQualityLines struct {
	Begin int `json:"begin"`
	End   int `json:"end,omitempty"`
}

// WriteCodeQuality writes findings as a GitLab code quality report, in the
// order given; no findings are an empty list, which is what clears old ones.
//
// Format: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
func WriteCodeQuality(w io.Writer, findings []finding.Finding) error {
	issues := make([]codeQualityIssue, 0, len(findings))
	prints := fingerprints{}
	for _, f := range findings {
		begin := max(f.Place.Line, 1)
		issue := codeQualityIssue{
			Description: ci.Printable(accepted(f, f.Message)),
			CheckName:   f.Rule,
			Fingerprint: prints.next(f),
			Severity:    codeQualitySeverity(f.Severity),
			Location:    codeQualityLocation{Path: relative(f.Place.File), Lines: codeQualityLines{Begin: begin}},
		}
		if f.Place.EndLine > begin {
			issue.Location.Lines.End = f.Place.EndLine
		}
		issues = append(issues, issue)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(issues)
}

func codeQualitySeverity(s finding.Severity) string {
	switch s {
	case finding.Critical:
		return "blocker"
	case finding.High:
		return "critical"
	case finding.Medium:
		return "major"
	case finding.Low:
		return "minor"
	default:
		return "info"
	}
}
