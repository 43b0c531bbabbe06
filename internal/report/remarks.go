package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/imagewright/imagewright/internal/finding"
)

// remarks are what there is to say of a finding beside its message, a line each
// and not escaped: what to do, which layer has it, why it does not count.
func remarks(f finding.Finding) []string {
	var lines []string
	say := func(what, text string) {
		if text != "" {
			lines = append(lines, what+": "+text)
		}
	}
	say("Fix", f.Fix)
	say("Layer", layer(f.Place))
	say("Only on", strings.Join(f.Place.Platforms, ", "))
	say("Accepted", f.Accepted)
	return lines
}

// layer is the layer of a place and what made it: "3, COPY . /app".
func layer(p finding.Place) string {
	if p.LayerNumber == 0 {
		return p.Instruction
	}
	number := strconv.Itoa(p.LayerNumber)
	if p.Instruction == "" {
		return number
	}
	return number + ", " + p.Instruction
}

// tellLayers tells whether a table of findings needs a column for their layers.
func tellLayers(findings []finding.Finding) bool {
	return slices.ContainsFunc(findings, func(f finding.Finding) bool { return layer(f.Place) != "" })
}

// accepted is text, after why the finding does not count if it does not.
func accepted(f finding.Finding, text string) string {
	if f.Accepted == "" {
		return text
	}
	return "(" + f.Accepted + ") " + text
}

// short is what a finding is about, for lists. A secret's rule says little
// without the line it was found in, which its message has, masked.
func short(f finding.Finding) string {
	if f.Kind == finding.Secret {
		return f.Message
	}
	return cmp.Or(f.Title, f.Message)
}
