package report

import (
	"cmp"
	"encoding/xml"
	"io"
	"strings"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/finding"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes findings as JUnit's XML: a failed test each, a skipped one
// if the finding is accepted. No findings are one test that passed, because
// CIs take a report without tests for a broken one.
//
// Format: https://github.com/testmoapp/junitxml
func WriteJUnit(w io.Writer, tool Tool, findings []finding.Finding) error {
	suite := junitSuite{Name: xmlText(strings.TrimSpace(tool.Name + " " + tool.Subject)), Tests: len(findings), Time: "0"}
	for _, f := range findings {
		c := junitCase{
			Class: xmlText(cmp.Or(f.Place.String(), tool.Subject, noFile)),
			Name:  "[" + f.Severity.String() + "] " + xmlText(f.Rule),
			Time:  "0",
		}
		if f.Accepted != "" {
			suite.Skipped++
			c.Skipped = &junitMessage{Message: xmlText(f.Accepted)}
		} else {
			suite.Failures++
			c.Failure = &junitMessage{Message: xmlText(f.Message), Type: f.Severity.String(), Text: junitDetail(f)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if len(findings) == 0 {
		suite.Tests = 1
		suite.Cases = []junitCase{{Class: xmlText(cmp.Or(tool.Subject, noFile)), Name: "no findings", Time: "0"}}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	if err := e.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitDetail(f finding.Finding) string {
	var b strings.Builder
	for _, line := range append([]string{cmp.Or(f.Detail, f.Title, f.Message)}, remarks(f)...) {
		b.WriteString(xmlText(line) + "\n")
	}
	for _, l := range f.Links {
		if l = webLink(l); l != "" {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// xmlText is s without what XML 1.0 has no way to write, and in one line. The
// encoder escapes the rest.
func xmlText(s string) string { return ci.Printable(s) }
