package report

import (
	"cmp"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
)

// gitlabVersion is the version of GitLab's schema that is written.
const gitlabVersion = "15.2.1"

// Lengths that the schema allows, in runes; a description may have a million.
const (
	maxGitLabName        = 255
	maxGitLabSystem      = 255
	maxGitLabSolution    = 7000
	maxGitLabDescription = 20_000
)

// ContainerScan is what GitLab wants to know beside the findings.
type ContainerScan struct {
	Tool
	Image      string // as people call it; not empty
	System     string // "debian 12.5"; empty when unknown
	Start, End time.Time
}

// WriteGitLab writes findings as GitLab's container scanning report, in the
// order given. A secret stands in it as a finding of the file that holds it.
//
// Format: https://gitlab.com/gitlab-org/security-products/security-report-schemas
func WriteGitLab(w io.Writer, scan ContainerScan, findings []finding.Finding) error {
	tool := gitlabTool{ID: scan.Name, Name: scan.Name, Version: cmp.Or(scan.Version, "unknown"), URL: scan.URL, Vendor: gitlabVendor{"Imagewright"}}
	report := gitlabReport{
		Version: gitlabVersion,
		Scan: gitlabScan{
			Analyzer: tool, Scanner: tool, Start: gitlabTime(scan.Start), End: gitlabTime(scan.End), Status: "success", Type: "container_scanning",
		},
		Vulnerabilities: make([]gitlabVulnerability, 0, len(findings)),
	}
	prints := fingerprints{}
	for _, f := range findings {
		report.Vulnerabilities = append(report.Vulnerabilities, newGitLabVulnerability(scan, f, prints.next(f)))
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(report)
}

// gitlabTime is t without a zone, which the schema has no place for.
func gitlabTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }

func newGitLabVulnerability(scan ContainerScan, f finding.Finding, id string) gitlabVulnerability {
	name := cmp.Or(f.Place.Package, f.Place.File, scan.Subject, noFile)
	v := gitlabVulnerability{
		ID:          id,
		Name:        cut(ci.Printable(cmp.Or(f.Title, f.Message, f.Rule)), maxGitLabName),
		Description: cut(gitlabDescription(f), maxGitLabDescription),
		Severity:    gitlabSeverity(f.Severity),
		Solution:    cut(ci.Printable(f.Fix), maxGitLabSolution),
		Identifiers: []gitlabIdentifier{newGitLabIdentifier(f)},
		Location: gitlabLocation{
			Dependency: gitlabDependency{Package: gitlabPackage{ci.Printable(name)}, Version: ci.Printable(f.Place.Version)},
			System:     cut(ci.Printable(cmp.Or(scan.System, "unknown")), maxGitLabSystem),
			Image:      ci.Printable(cmp.Or(scan.Image, noFile)),
		},
	}
	for _, l := range f.Links {
		if l = webLink(l); l != "" {
			v.Links = append(v.Links, gitlabLink{l})
		}
	}
	return v
}

// gitlabDescription is Markdown: that is what GitLab takes it for.
func gitlabDescription(f finding.Finding) string {
	about := cmp.Or(f.Detail, f.Title, f.Message)
	paragraphs := []string{Markdown(about)}
	if f.Message != about {
		paragraphs = append(paragraphs, Markdown(f.Message))
	}
	for _, line := range remarks(f) {
		paragraphs = append(paragraphs, Markdown(line))
	}
	return strings.Join(paragraphs, "\n\n")
}

// numbered is a rule's id that begins with who gave it: CVE-2022-37434.
var numbered = regexp.MustCompile(`^([A-Za-z]+)-`)

func newGitLabIdentifier(f finding.Finding) gitlabIdentifier {
	rule := ci.Printable(cmp.Or(f.Rule, "unnamed"))
	id := gitlabIdentifier{Type: "imagewright", Name: rule, Value: rule}
	if f.Kind == finding.Secret {
		id.Type = "secret_rule"
	} else if m := numbered.FindStringSubmatch(rule); m != nil {
		id.Type = strings.ToLower(m[1]) // cve, ghsa, usn, rhsa: GitLab's own names
	}
	if len(f.Links) > 0 {
		id.URL = webLink(f.Links[0])
	}
	return id
}

func gitlabSeverity(s finding.Severity) string {
	name := s.String()
	return name[:1] + strings.ToLower(name[1:])
}

type gitlabReport struct {
	Version         string                `json:"version"`
	Scan            gitlabScan            `json:"scan"`
	Vulnerabilities []gitlabVulnerability `json:"vulnerabilities"`
}

type gitlabScan struct {
	Analyzer gitlabTool `json:"analyzer"`
	Scanner  gitlabTool `json:"scanner"`
	Start    string     `json:"start_time"`
	End      string     `json:"end_time"`
	Status   string     `json:"status"`
	Type     string     `json:"type"`
}

type gitlabTool struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Version string       `json:"version"`
	URL     string       `json:"url,omitempty"`
	Vendor  gitlabVendor `json:"vendor"`
}

type gitlabVendor struct {
	Name string `json:"name"`
}

type gitlabVulnerability struct {
	ID          string             `json:"id"` // unique in the report
	Name        string             `json:"name"`
	Description string             `json:"description"`
	Severity    string             `json:"severity"`
	Solution    string             `json:"solution,omitempty"`
	Identifiers []gitlabIdentifier `json:"identifiers"`
	Links       []gitlabLink       `json:"links,omitempty"`
	Location    gitlabLocation     `json:"location"`
}

type gitlabIdentifier struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
	URL   string `json:"url,omitempty"`
}

type gitlabLink struct {
	URL string `json:"url"`
}

type gitlabLocation struct {
	Dependency gitlabDependency `json:"dependency"`
	System     string           `json:"operating_system"`
	Image      string           `json:"image"`
}

type gitlabDependency struct {
	Package gitlabPackage `json:"package"`
	Version string        `json:"version"`
}

type gitlabPackage struct {
	Name string `json:"name"`
}
