package finding

import (
	"fmt"
	"strings"
)

// Severity says how bad a finding is. Its order is the order of its values;
// the zero value is Unknown.
type Severity int

// Severities, least severe first, as vulnerability databases use them.
const (
	Unknown Severity = iota
	Low
	Medium
	High
	Critical
)

var severityNames = [...]string{"UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

// Severities returns all severities, most severe first: the order of reports.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Unknown} }

// String returns the severity's name in upper case, as databases write it.
func (s Severity) String() string {
	if s < Unknown || s > Critical {
		return severityNames[Unknown]
	}
	return severityNames[s]
}

// MarshalText writes the name String returns.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSeverity accepts.
func (s *Severity) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSeverity(string(text))
	return err
}

// ParseSeverity reads a severity's name in any case. The error lists the names
// that are accepted.
func ParseSeverity(name string) (Severity, error) {
	for i, n := range severityNames {
		if strings.EqualFold(strings.TrimSpace(name), n) {
			return Severity(i), nil
		}
	}
	return Unknown, fmt.Errorf("severity %q is not known; want critical, high, medium, low or unknown", name)
}
