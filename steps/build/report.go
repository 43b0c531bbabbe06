package build

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/report"
	"github.com/imagewright/imagewright/internal/step"
)

// codeQualityFile is what GitLab shows beside the changed lines.
const codeQualityFile = "build-codequality.json"

// failedRule is the name of a failed build among findings.
const failedRule = "build-failed"

// findings are what err says of lines of the Dockerfile.
func findings(err error) []finding.Finding {
	if warnings, ok := errors.AsType[*checkWarnings](err); ok {
		return warnings.Found
	}
	place, message := finding.Place{}, ""
	if f, ok := errors.AsType[*failure](err); ok {
		place, message = finding.Place{File: f.File, Line: f.Line, EndLine: f.EndLine}, f.Message
	} else if bad, ok := errors.AsType[*badDockerfile](err); ok {
		place, message = finding.Place{File: bad.File, Line: bad.Line, EndLine: bad.EndLine}, bad.Message
	}
	if place.File == "" {
		return nil
	}
	return []finding.Finding{{
		Severity: finding.Critical,
		Rule:     failedRule,
		Title:    "The image cannot be built",
		Message:  ci.Printable(message),
		Place:    place,
	}}
}

// reportFindings shows found at their lines: as annotations, and as GitLab's
// code quality report, which is empty after a good build so that the remark of
// a bad one goes away.
func reportFindings(job *step.Job, found []finding.Finding) error {
	for _, f := range found {
		if job.CI.Kind == ci.Terminal {
			break // the error itself follows in a line, with the same place in front
		}
		level := ci.Warning
		if f.Severity == finding.Critical {
			level = ci.Error
		}
		job.Annotate(ci.Annotation{Level: level, File: f.Place.File, Line: f.Place.Line, EndLine: f.Place.EndLine, Title: f.Title, Message: f.Message})
	}
	dir := filepath.Join(job.Workspace, "reports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, codeQualityFile), 0o644, func(w io.Writer) error {
		return report.WriteCodeQuality(w, found)
	})
}
