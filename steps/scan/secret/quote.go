package secret

import (
	"bytes"
	"cmp"
	"fmt"
	"sort"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// report describes the matches in a chunk. No secret is readable in it: neither
// the one a finding is about, nor another nearby.
func report(matches []match, data []byte, f *file) []ftypes.SecretFinding {
	if len(matches) == 0 {
		return nil
	}
	q := newQuote(data, matches)
	found := make([]ftypes.SecretFinding, len(matches))
	for i, m := range matches {
		found[i] = ftypes.SecretFinding{
			RuleID:   m.ID,
			Category: ftypes.SecretRuleCategory(m.Category),
			Severity: cmp.Or(m.Severity, "UNKNOWN"),
			Title:    m.Title,
			Offset:   m.start,
		}
		q.describe(&found[i], m.span)
		if f.binary {
			found[i].Match = fmt.Sprintf("Binary file %q matches a rule %q", f.path, m.Title)
			found[i].Code = ftypes.Code{}
		}
	}
	inOrder(found)
	return found
}

// inOrder sorts findings as Trivy does. Which of two that are equal to it comes
// first, is left to the sort, so it has to be the same one.
func inOrder(found []ftypes.SecretFinding) {
	sort.Slice(found, func(i, j int) bool {
		if found[i].RuleID != found[j].RuleID {
			return found[i].RuleID < found[j].RuleID
		}
		return found[i].Match < found[j].Match
	})
}

// quote is a chunk without its secrets, to be quoted from.
type quote struct {
	data   []byte
	breaks []int // where its lines end
}

func newQuote(data []byte, secrets []match) *quote {
	q := &quote{data: bytes.Clone(data)}
	for i, b := range data {
		if b == '\n' {
			q.breaks = append(q.breaks, i)
		}
	}
	for _, s := range secrets {
		for i := s.start; i < s.end; i++ {
			if data[i] != '\n' {
				q.data[i] = '*'
			}
		}
	}
	return q
}

// lineOf returns the line, from 0, that the byte at an offset is in.
func (q *quote) lineOf(offset int) int { return sort.SearchInts(q.breaks, offset) }

// line returns where a line is, without its end.
func (q *quote) line(i int) span {
	s := span{0, len(q.data)}
	if i > 0 {
		s.start = q.breaks[i-1] + 1
	}
	if i < len(q.breaks) {
		s.end = q.breaks[i]
	}
	return s
}

// How Trivy quotes: of a longer line than longLine bytes, just so many, or what is
// around the secret; and with so many lines before the secret and after it.
const (
	longLine    = 100
	before      = 30
	after       = 20
	linesBefore = 2
	linesAfter  = 1
)

// describe fills in where a secret is and what is around it.
func (q *quote) describe(f *ftypes.SecretFinding, secret span) {
	first, last := q.lineOf(secret.start), q.lineOf(secret.end)
	f.StartLine, f.EndLine = first+1, last+1
	at := q.line(first)
	if at.end-at.start > longLine {
		at = span{max(at.start, secret.start-before), min(at.end, secret.end+after)}
	}
	f.Match = readable(q.data[at.start:at.end])
	for i := max(0, first-linesBefore); i <= min(last+linesAfter, len(q.breaks)); i++ {
		line := ftypes.Line{
			Number:     i + 1,
			IsCause:    first <= i && i <= last,
			FirstCause: i == first,
			LastCause:  i == last,
		}
		switch at := q.line(i); {
		case at.end-at.start <= longLine:
			line.Content = readable(q.data[at.start:at.end])
		case line.IsCause:
			line.Content = f.Match
		default:
			line.Content = readable(q.data[at.start : at.start+longLine])
		}
		line.Highlighted = line.Content
		f.Code.Lines = append(f.Code.Lines, line)
	}
}

// readable returns data as text without carriage returns.
func readable(data []byte) string {
	return strings.ToValidUTF8(strings.ReplaceAll(string(data), "\r", ""), "\uFFFD")
}
