package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
)

// GitHub refuses a run with more results or rules:
// https://docs.github.com/en/code-security/reference/code-scanning/sarif-support-for-code-scanning
const maxSARIFResults = 25_000

// Lengths of rule texts, in runes: GitHub shows 1,024 characters of a description.
const (
	maxSARIFShort = 250
	maxSARIFFull  = 1000
)

// Tool names the program that found the findings, and what it looked at.
type Tool struct {
	Name    string
	Version string // empty when unknown
	URL     string
	Subject string // the place of findings without a file: SARIF wants one of each
}

// WriteSARIF writes findings as one run of SARIF 2.1.0, in the order given: the
// most severe ones first, please, since GitHub takes 25,000 and the rest is left
// out, with a notification that says how many.
//
// What GitHub needs of it is there: relative addresses, regions from line 1,
// security-severity, and a fingerprint that stays while versions move.
func WriteSARIF(w io.Writer, tool Tool, findings []finding.Finding) error {
	left := max(len(findings)-maxSARIFResults, 0)
	findings = findings[:len(findings)-left]

	run := sarifRun{
		Tool: sarifTool{Driver: sarifDriver{
			Name: tool.Name, Version: tool.Version, InformationURI: webLink(tool.URL), Rules: []sarifRule{},
		}},
		Invocations: []sarifInvocation{{ExecutionSuccessful: true}},
		Results:     make([]sarifResult, 0, len(findings)),
	}
	if left > 0 {
		run.Invocations[0].Notifications = []sarifNotification{{
			Level:   "warning",
			Message: sarifText{Text: fmt.Sprintf("%d findings are left out: a run holds %d", left, maxSARIFResults)},
		}}
	}
	index := map[string]int{}
	prints := fingerprints{}
	for _, f := range findings {
		i, known := index[f.Rule]
		if !known {
			i = len(run.Tool.Driver.Rules)
			index[f.Rule] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(f))
		}
		run.Results = append(run.Results, newSARIFResult(f, i, tool.Subject, prints.next(f)))
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	})
}

// newSARIFRule describes the rule of f; the first finding of a rule speaks for
// the others.
func newSARIFRule(f finding.Finding) sarifRule {
	short := cmp.Or(f.Title, f.Message, f.Rule)
	r := sarifRule{
		ID:               f.Rule,
		ShortDescription: sarifText{Text: cut(ci.Printable(short), maxSARIFShort)},
		FullDescription:  sarifText{Text: cut(ci.Printable(cmp.Or(f.Detail, short)), maxSARIFFull)},
		Configuration:    sarifConfiguration{Level: sarifLevel(f.Severity)},
		Properties: sarifRuleProperties{
			SecuritySeverity: securitySeverity(f),
			Precision:        "very-high",
			Tags:             []string{"security", f.Severity.String()},
		},
	}
	if f.Kind != "" {
		r.Properties.Tags = append(r.Properties.Tags, string(f.Kind))
	}
	links := slices.DeleteFunc(slices.Clone(f.Links), func(l string) bool { return webLink(l) == "" })
	if len(links) > 0 {
		r.HelpURI = webLink(links[0])
	}
	r.Help = ruleHelp(f, links)
	return r
}

func ruleHelp(f finding.Finding, links []string) sarifHelp {
	text, md := &strings.Builder{}, &strings.Builder{}
	fmt.Fprintf(text, "%s (%s)\n%s\n", ci.Printable(f.Rule), f.Severity, ci.Printable(cmp.Or(f.Detail, f.Title, f.Message)))
	fmt.Fprintf(md, "**%s** (%s)\n\n%s\n", Markdown(f.Rule), f.Severity, Markdown(cmp.Or(f.Detail, f.Title, f.Message)))
	if f.Fix != "" {
		fmt.Fprintf(text, "Fix: %s\n", ci.Printable(f.Fix))
		fmt.Fprintf(md, "\nFix: %s\n", Markdown(f.Fix))
	}
	for i, l := range links {
		if i == 0 {
			md.WriteByte('\n')
		}
		fmt.Fprintln(text, webLink(l))
		fmt.Fprintf(md, "- <%s>\n", webLink(l))
	}
	return sarifHelp{Text: text.String(), Markdown: md.String()}
}

func newSARIFResult(f finding.Finding, rule int, subject, fingerprint string) sarifResult {
	start := max(f.Place.Line, 1)
	message := ci.Printable(f.Message)
	for _, line := range remarks(f) {
		message += "\n" + ci.Printable(line)
	}
	r := sarifResult{
		RuleID:    f.Rule,
		RuleIndex: rule,
		Level:     sarifLevel(f.Severity),
		Message:   sarifText{Text: message},
		Locations: []sarifLocation{{
			Physical: sarifPhysical{
				Artifact: sarifArtifact{URI: relativeURI(cmp.Or(f.Place.File, subject))},
				Region:   sarifRegion{StartLine: start, EndLine: max(f.Place.EndLine, start)},
			},
		}},
		PartialFingerprints: map[string]string{"primaryLocationLineHash": fingerprint},
	}
	if f.Place.Package != "" {
		r.Locations[0].Logical = []sarifLogical{{Name: ci.Printable(f.Place.String()), Kind: "module"}}
	}
	return r
}

func sarifLevel(s finding.Severity) string {
	switch s {
	case finding.Critical, finding.High:
		return "error"
	case finding.Medium:
		return "warning"
	default:
		return "note"
	}
}

// securitySeverity is what GitHub shows a severity by: over 9.0 critical, 7.0
// high, 4.0 medium, over 0 low. A score that says otherwise than the severity
// (a distribution rated the flaw for itself) yields to the severity.
func securitySeverity(f finding.Finding) string {
	low, high, middle := 0.0, 0.0, 0.0
	switch f.Severity {
	case finding.Critical:
		low, high, middle = 9.0, 10.0, 9.5
	case finding.High:
		low, high, middle = 7.0, 8.9, 8.0
	case finding.Medium:
		low, high, middle = 4.0, 6.9, 5.5
	case finding.Low:
		low, high, middle = 0.1, 3.9, 2.0
	}
	if f.Score >= low && f.Score <= high {
		return fmt.Sprintf("%.1f", f.Score)
	}
	return fmt.Sprintf("%.1f", middle)
}

// webLink returns link as a clean absolute web address, or "" when it is none.
func webLink(link string) string {
	u, err := url.Parse(strings.TrimSpace(link))
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	s := u.String()
	if strings.ContainsAny(s, "<>\"` \\^{|}") || ci.Printable(s) != s {
		return ""
	}
	return s
}
