// Package finding is what checks say: a rule, how severe, where, what, and what
// to do about it. It knows no step, no scanner and no report format.
package finding

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Finding is one thing a check has to say. All text in it may come from a
// hostile image: writers escape it for their format.
type Finding struct {
	Severity Severity
	Rule     string   // id of the rule: CVE-2022-37434, build-failed
	Title    string   // the rule in one short line; may be empty
	Detail   string   // the rule at length, as plain text; may be empty
	Message  string   // this case in one sentence
	Fix      string   // what to do, as a short phrase; empty when nothing is known
	Score    float64  // CVSS, 0.1 to 10; 0 when there is none
	Links    []string // http and https addresses, the main one first
	Place    Place
}

// Place is where a finding is. Every field may be empty.
type Place struct {
	File    string // path, with / between the names: in the checkout, or in the image
	Line    int    // 1 is the first; 0 when a line makes no sense
	EndLine int    // 0 means Line
	Package string
	Version string // installed version of Package
	Layer   string // diff ID of the layer that brought it
}

// String is the place in short: "Dockerfile:12", "zlib1g@1:1.2.13 (app/x.jar)".
func (p Place) String() string {
	file := p.File
	if file != "" && p.Line > 0 {
		file += ":" + strconv.Itoa(p.Line)
	}
	if p.Package == "" {
		return file
	}
	name := p.Package
	if p.Version != "" {
		name += "@" + p.Version
	}
	if file == "" {
		return name
	}
	return name + " (" + file + ")"
}

// Counts is the number of findings of each severity.
type Counts map[Severity]int

// Count counts findings; every severity is in the result, with 0 if need be.
func Count(findings []Finding) Counts {
	c := Counts{}
	for _, s := range Severities() {
		c[s] = 0
	}
	for _, f := range findings {
		c[f.Severity]++
	}
	return c
}

// String lists what is there, most severe first: "1 CRITICAL, 4 HIGH". Nothing
// at all is "no findings".
func (c Counts) String() string {
	var parts []string
	for _, s := range Severities() {
		if n := c[s]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+s.String())
		}
	}
	if parts == nil {
		return "no findings"
	}
	return strings.Join(parts, ", ")
}

// Sort orders findings for reading: most severe first, then by package, file,
// line and rule, so that equal sets are equal lists.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(a.Place.Package, b.Place.Package),
			cmp.Compare(a.Place.File, b.Place.File),
			cmp.Compare(a.Place.Line, b.Place.Line),
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Place.Version, b.Place.Version),
		)
	})
}
