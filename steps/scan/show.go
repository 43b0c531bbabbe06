package scan

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/report"
	"github.com/imagewright/imagewright/internal/step"
)

// summaryRows bounds the table of the summary.
const summaryRows = 200

// writeTable writes what people read: which image, what was looked at, what was
// found, the policy.
func (o *outcome) writeTable(w io.Writer, shown []finding.Severity) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "image %s %s\n", ci.Printable(o.subject.name), o.subject.digest) // no line begins with the image's own text
	for _, one := range o.all {
		fmt.Fprintf(&b, "%s\n", one.describe())
	}
	if text := o.databaseText(); text != "" {
		fmt.Fprintf(&b, "%s\n", text)
	}
	list := only(o.findings, shown)
	if len(list) > 0 {
		b.WriteByte('\n')
	}
	if err := report.WriteTable(&b, list); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\n%s%s; %s: %s\n", o.counts, o.aside(len(o.findings)-len(list)), failOnText(o.failOn), o.verdict())
	_, err := w.Write(b.Bytes())
	return err
}

// writeSummary adds the outcome to the CI's page.
func (o *outcome) writeSummary(job *step.Job, shown []finding.Severity) error {
	var b bytes.Buffer
	list := only(o.findings, shown)
	if err := report.WriteMarkdown(&b, o.heading(), list, summaryRows); err != nil {
		return err
	}
	b.WriteByte('\n')
	for _, line := range o.notes(len(o.findings) - len(list)) {
		fmt.Fprintf(&b, "- %s\n", report.Markdown(line))
	}
	job.Summary(b.String())
	return nil
}

func (o *outcome) heading() string {
	return fmt.Sprintf("scan %s: %s, %s", o.subject.name, o.verdict(), o.counts)
}

// notes say what the verdict rests on.
func (o *outcome) notes(hidden int) []string {
	lines := []string{o.subject.digest.String()}
	for _, one := range o.all {
		lines = append(lines, one.describe())
	}
	if text := o.databaseText(); text != "" {
		lines = append(lines, text)
	}
	return append(lines, failOnText(o.failOn)+o.aside(hidden))
}

// databaseText is empty when no database was asked.
func (o *outcome) databaseText() string {
	if o.database.UpdatedAt.IsZero() {
		return ""
	}
	return "database of " + o.database.UpdatedAt.UTC().Format("2006-01-02 15:04 MST")
}

// describe is an image in a line: "linux/amd64, debian 12.5, 78 packages".
func (one *inspected) describe() string {
	parts := []string{one.image.Platform.String()}
	if system := one.system(); system != "" {
		if one.EndOfLife {
			system += " (end of life)"
		}
		parts = append(parts, system)
	}
	parts = append(parts, count(one.Packages, "package"))
	if n := len(one.Unidentified); n > 0 {
		parts = append(parts, count(n, "unidentified Java archive"))
	}
	return ci.Printable(strings.Join(parts, ", "))
}

// system is the distribution: "debian 12.5", or nothing.
func (one *inspected) system() string {
	os := one.OS
	return strings.TrimSpace(string(os.Family) + " " + os.Name)
}

// traces tell where in the image something comes from.
func (one *inspected) traces() *traces {
	return &traces{
		layers:   one.Layers,
		removed:  removals(one.Removed, one.Sensitive),
		discreet: inConfig(one.Results),
	}
}

// describeTo adds what is known of one image. Where a secret was found in its
// configuration, what could hold it is left out: a report is read by more people
// than the image.
func (one *inspected) describeTo(m *types.Metadata) {
	m.ImageID = one.configID.String()
	m.ImageConfig = *one.config.DeepCopy()
	m.Layers = append(m.Layers, one.Layers...)
	for _, id := range one.config.RootFS.DiffIDs {
		m.DiffIDs = append(m.DiffIDs, id.String())
	}
	if os := one.OS; os.Family != "" {
		os.Eosl = one.EndOfLife
		m.OS = &os
	}
	if !inConfig(one.Results) {
		return
	}
	m.ImageConfig.Config = v1.Config{}
	for i := range m.ImageConfig.History {
		m.ImageConfig.History[i].CreatedBy, m.ImageConfig.History[i].Comment = "", ""
	}
	for i := range m.Layers {
		m.Layers[i].CreatedBy = ""
	}
}
