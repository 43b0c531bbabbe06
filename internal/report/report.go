// Package report writes findings in the formats that people and CIs read. It
// knows findings, not steps. All text of a finding may be hostile, and every
// writer escapes it for its format.
package report
