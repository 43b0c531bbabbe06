// Package finding is what checks say: a rule, how severe, where, what, and what
// to do about it. It knows no step, no scanner and no report format.
package finding

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a check looks for.
type Kind string

// The kinds that reports treat each in its own way; the zero value is any other.
const (
	Vulnerability Kind = "vulnerability"
	Secret        Kind = "secret"
)

// Finding is one thing a check has to say. All text in it may come from a
// hostile image: writers escape it for their format.
type Finding struct {
	Kind     Kind
	Severity Severity
	Rule     string   // id of the rule: CVE-2022-37434, build-failed
	Title    string   // the rule in one short line; may be empty
	Detail   string   // the rule at length, as plain text; may be empty
	Message  string   // this case in one sentence
	Match    string   // of a secret, the line it stands in, masked
	Fix      string   // what to do, as a short phrase; empty when nothing is known
	Score    float64  // CVSS, 0.1 to 10; 0 when there is none
	Links    []string // http and https addresses, the main one first
	Place    Place

	// Published is when the world learnt of it; zero when nobody says.
	Published time.Time
	// Accepted is why it does not count against the verdict, in a few words;
	// empty when it counts.
	Accepted string
}

// Place is where a finding is. Every field may be empty.
type Place struct {
	File    string // path, with / between the names: in the checkout, or in the image
	Line    int    // 1 is the first; 0 when a line makes no sense
	EndLine int    // 0 means Line
	Package string
	Version string // installed version of Package

	Layer       string   // diff ID of the layer that brought it
	LayerNumber int      // of Layer, 1 is the lowest
	Instruction string   // what made Layer, as the image's history says it
	Platforms   []string // those that have it; nil for all that were looked at
}

// Fingerprint names a finding the same way from run to run, while lines and
// versions move. Two findings of a run may share one.
func (f Finding) Fingerprint() string {
	h := sha256.New()
	for _, part := range []string{f.Rule, f.Place.File, f.Place.Package} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part)) // the length: "a"+"bc" is not "ab"+"c"
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// String is the place in short: "Dockerfile:12", "zlib1g@1:1.2.13 (app/x.jar)",
// "zlib1g@1:1.2.13 on linux/arm64".
func (p Place) String() string {
	if len(p.Platforms) == 0 {
		return p.inImage()
	}
	return strings.TrimLeft(p.inImage()+" on "+strings.Join(p.Platforms, ", "), " ")
}

func (p Place) inImage() string {
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
