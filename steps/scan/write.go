package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/report"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/detection"
)

// summaryRows bounds the table of the summary.
const summaryRows = 200

// trivySchema is the version of Trivy's report that is written.
const trivySchema = 2

// trivyReport is the outcome in Trivy's own type, so that what reads Trivy's
// JSON reads ours. Of several platforms the results stand one after the other,
// and each target names its platform.
func (o *outcome) trivyReport() types.Report {
	r := types.Report{
		SchemaVersion: trivySchema,
		CreatedAt:     o.at,
		ArtifactName:  o.subject.name,
		ArtifactType:  ftypes.TypeContainerImage,
		Metadata:      o.metadata(),
	}
	for _, one := range o.all {
		for _, result := range one.results {
			if len(o.all) > 1 {
				result.Target += " (" + one.image.Platform.String() + ")"
			}
			r.Results = append(r.Results, result)
		}
	}
	return r
}

// metadata describes the image; of several platforms only what they share.
func (o *outcome) metadata() types.Metadata {
	var m types.Metadata
	if ref, err := name.ParseReference(o.subject.name); err == nil && strings.Contains(o.subject.name, ":") {
		if tag, ok := ref.(name.Tag); ok {
			m.RepoTags = []string{tag.Name()}
		}
		if !o.subject.madeUp {
			m.RepoDigests = []string{ref.Context().Digest(o.subject.digest.String()).Name()}
		}
	}
	if len(o.all) > 1 {
		return m
	}
	one := o.all[0]
	m.ImageID = one.configID.String()
	m.ImageConfig = *one.config
	m.Layers = one.detail.Layers
	for _, id := range one.config.RootFS.DiffIDs {
		m.DiffIDs = append(m.DiffIDs, id.String())
	}
	if os := detection.System(one.detail); os.Family != "" {
		os.Eosl = one.eosl
		m.OS = &os
	}
	return m
}

// writeJSON writes Trivy's report. A "##[" would be a command to GitHub's
// runner wherever it stands in a line; JSON can say it in another way.
func writeJSON(w io.Writer, r types.Report) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	data = bytes.ReplaceAll(data, []byte("##["), []byte(`\u0023#[`)) // only inside strings
	_, err = w.Write(append(data, '\n'))
	return err
}

// writeReports writes the files, all findings in each.
func (o *outcome) writeReports(files []reportFile) error {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		if err := durable.WriteFile(f.path, 0o644, func(w io.Writer) error {
			if f.format == formatSARIF {
				return report.WriteSARIF(w, o.tool(), o.findings)
			}
			return writeJSON(w, o.trivyReport())
		}); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}

func (o *outcome) tool() report.Tool {
	return report.Tool{
		Name: "imagewright-scan", Version: step.Version(), URL: "https://github.com/imagewright/imagewright",
		Subject: placeOf(o.subject.name),
	}
}

// forget removes what an earlier run left: should this one give up, neither its
// verdict nor its reports may stand for this run's.
func forget(files []reportFile) error {
	for _, f := range files {
		info, err := os.Lstat(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !info.Mode().IsRegular() {
			return fault.Usage(fmt.Errorf("report %s: it is there and no regular file", f.path), "name another path in reports")
		}
		if err == nil {
			err = os.Remove(f.path)
		}
		if err != nil {
			return fmt.Errorf("report of an earlier run: %w", err)
		}
	}
	return nil
}

// writeTable writes what people read: which image, what was looked at, what was
// found, the policy.
func (o *outcome) writeTable(w io.Writer, shown []finding.Severity) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "image %s %s\n", ci.Printable(o.subject.name), o.subject.digest) // no line begins with the image's own text
	for _, one := range o.all {
		fmt.Fprintf(&b, "%s\n", one.describe())
	}
	fmt.Fprintf(&b, "%s\n", o.databaseText())
	list := only(o.findings, shown)
	if len(list) > 0 {
		b.WriteByte('\n')
	}
	if err := report.WriteTable(&b, list); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\n%s", o.counts)
	if hidden := len(o.findings) - len(list); hidden > 0 {
		fmt.Fprintf(&b, " (%d not shown)", hidden)
	}
	fmt.Fprintf(&b, "; %s: %s\n", failOnText(o.failOn), o.verdict())
	_, err := w.Write(b.Bytes())
	return err
}

// describe is an image in a line: "linux/amd64, debian 12.5, 78 packages".
func (one *inspected) describe() string {
	parts := []string{one.image.Platform.String()}
	if os := detection.System(one.detail); os.Family != "" {
		system := string(os.Family) + " " + os.Name
		if one.eosl {
			system += " (end of life)"
		}
		parts = append(parts, system)
	}
	parts = append(parts, count(one.packages(), "package"))
	if n := len(one.detail.Unidentified); n > 0 {
		parts = append(parts, count(n, "unidentified Java archive"))
	}
	return ci.Printable(strings.Join(parts, ", "))
}

// writeSummary adds the outcome to the CI's page.
func (o *outcome) writeSummary(job *step.Job, shown []finding.Severity) error {
	var b bytes.Buffer
	verdict := fmt.Sprintf("scan %s: %s, %s", o.subject.name, o.verdict(), o.counts)
	if err := report.WriteMarkdown(&b, verdict, only(o.findings, shown), summaryRows); err != nil {
		return err
	}
	b.WriteByte('\n')
	for _, line := range o.notes() {
		fmt.Fprintf(&b, "- %s\n", report.Markdown(line))
	}
	job.Summary(b.String())
	return nil
}

// notes say what the verdict rests on.
func (o *outcome) notes() []string {
	lines := []string{o.subject.digest.String()}
	for _, one := range o.all {
		lines = append(lines, one.describe())
	}
	return append(lines, o.databaseText(), failOnText(o.failOn))
}

func (o *outcome) databaseText() string {
	return "database of " + o.database.UpdatedAt.UTC().Format("2006-01-02 15:04 MST")
}

// reportPath returns the first report of a format, as outputs name it.
func reportPath(files []reportFile, format string, job *step.Job) string {
	i := slices.IndexFunc(files, func(f reportFile) bool { return f.format == format })
	if i < 0 {
		return ""
	}
	return job.Rel(files[i].path)
}
