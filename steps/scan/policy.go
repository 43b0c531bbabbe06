package scan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
)

// judge applies the policy to what was found, and makes one list of it.
func (o *outcome) judge(p plan, files policyFiles) {
	var found []finding.OnPlatform
	for _, one := range o.all {
		in := one.traces()
		if p.secrets {
			one.Results = withSensitive(one.Results, one.Sensitive)
		}
		for i := range one.Results {
			if in.discreet {
				forgetInstructions(one.Results[i].Secrets)
			}
			left := files.ignores.apply(&one.Results[i], p.statuses)
			o.left.byStatus += left.byStatus
			o.left.ignored += left.ignored
		}
		found = append(found, finding.OnPlatform{Platform: one.image.Platform.String(), Findings: findings(one.Results, in)})
	}
	o.findings = finding.Join(found)
	for i := range o.findings {
		o.findings[i].Accepted = p.accepts(o.findings[i], files.baseline, o.at)
	}
	finding.Sort(o.findings)
	o.counts = finding.Count(o.findings)
	o.failing = finding.Count(slices.DeleteFunc(slices.Clone(o.findings), func(f finding.Finding) bool { return f.Accepted != "" }))
}

// accepts says why a finding does not count against the verdict; "" when it
// does.
func (p plan) accepts(f finding.Finding, known baseline, now time.Time) string {
	switch {
	case known.take(f):
		return "in the baseline"
	case p.grace > 0 && f.Kind == finding.Vulnerability && !f.Published.IsZero() && now.Sub(f.Published) < p.grace: // a slow clock sees into the future
		return "published " + f.Published.UTC().Format(time.DateOnly)
	}
	return ""
}

func (o *outcome) verdict() record.Verdict {
	if slices.ContainsFunc(o.failOn, func(s finding.Severity) bool { return o.failing[s] > 0 }) {
		return record.Fail
	}
	return record.Pass
}

// severitiesToFailOn returns what fails, most severe first; none is nothing.
//
// A severity takes the worse ones with it, because nobody who stops at HIGH
// means to let CRITICAL through. UNKNOWN is not worse or better than another.
func severitiesToFailOn(names []string) ([]finding.Severity, error) {
	if len(names) == 1 && strings.EqualFold(names[0], "none") {
		return nil, nil
	}
	named, err := parseSeverities("fail-on", names)
	if err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return nil, fault.Usage(errors.New("input fail-on: no severity is named"), "write none to let everything pass")
	}
	var failOn []finding.Severity
	for _, s := range finding.Severities() {
		worse := func(n finding.Severity) bool { return n == s || n != finding.Unknown && n < s }
		if slices.ContainsFunc(named, worse) {
			failOn = append(failOn, s)
		}
	}
	return failOn, nil
}

// severitiesToShow returns what the table has: exactly what is named, or all.
func severitiesToShow(names []string) ([]finding.Severity, error) {
	if len(names) == 0 {
		return finding.Severities(), nil
	}
	return parseSeverities("severity", names)
}

func parseSeverities(input string, names []string) ([]finding.Severity, error) {
	var all []finding.Severity
	for _, n := range names {
		s, err := finding.ParseSeverity(n)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input %s: %w", input, err), "")
		}
		all = append(all, s)
	}
	return all, nil
}

// names returns severities in upper case, as the record and reports have them.
func names(severities []finding.Severity) []string {
	all := make([]string, len(severities))
	for i, s := range severities {
		all[i] = s.String()
	}
	return all
}

// failOnText is the policy as errors and summaries say it.
func failOnText(failOn []finding.Severity) string {
	if len(failOn) == 0 {
		return "fail-on none"
	}
	return "fail-on " + strings.ToLower(strings.Join(names(failOn), ","))
}

// aside is what the counts leave open, in brackets: how many findings are not
// shown, do not count, or were taken out.
func (o *outcome) aside(hidden int) string {
	accepted := 0
	for _, f := range o.findings {
		if f.Accepted != "" {
			accepted++
		}
	}
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{hidden, "not shown"}, {accepted, "accepted"}, {o.left.ignored, "ignored"}, {o.left.byStatus, "left out by status"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// refused is returned when the policy says no.
type refused struct {
	Digest string
	Counts finding.Counts // of the findings that count
	FailOn []finding.Severity
}

func (e *refused) Error() string {
	return fmt.Sprintf("scan %s: %s; %s", e.Digest, e.Counts, failOnText(e.FailOn))
}

func (e *refused) ExitCode() int { return fault.ExitRefused }

func (e *refused) Hint() string {
	return "update what the table names, or change fail-on"
}
