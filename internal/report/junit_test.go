package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
)

func readJUnit(t *testing.T, data []byte) junitSuite {
	t.Helper()
	var s junitSuites
	if err := xml.Unmarshal(data, &s); err != nil {
		t.Fatalf("no XML: %v\n%s", err, data)
	}
	if len(s.Suites) != 1 || s.Suites[0].Tests != len(s.Suites[0].Cases) {
		t.Fatalf("want one suite that counts its cases: %+v", s)
	}
	return s.Suites[0]
}

func TestJUnitFailsATestForEachFindingThatCounts(t *testing.T) {
	findings := sample()
	findings[1].Accepted = "in the baseline"
	var b bytes.Buffer
	if err := WriteJUnit(&b, tool, findings); err != nil {
		t.Fatal(err)
	}
	got := readJUnit(t, b.Bytes())
	if got.Tests != len(findings) || got.Failures != len(findings)-1 || got.Skipped != 1 {
		t.Errorf("%d tests, %d failures, %d skipped; want %d, all but one failed", got.Tests, got.Failures, got.Skipped, len(findings))
	}
	first := got.Cases[0]
	if first.Class != "zlib1g@1:1.2.11 (acme/hello)" || first.Name != "[CRITICAL] CVE-2022-37434" || first.Failure == nil || first.Failure.Type != "CRITICAL" ||
		!strings.Contains(first.Failure.Text, "Fix: update zlib1g to") {
		t.Errorf("the first case is %+v", first)
	}
	if c := got.Cases[1]; c.Failure != nil || c.Skipped == nil || c.Skipped.Message != "in the baseline" {
		t.Errorf("an accepted finding is %+v, want skipped", c)
	}
	if bytes.ContainsAny(b.Bytes(), "\x00\x07\x1b\u202e") || bytes.Contains(b.Bytes(), []byte("<script")) {
		t.Errorf("text of a finding is markup or no XML:\n%s", b.Bytes())
	}
}

func TestJUnitOfNothingIsATestThatPassed(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJUnit(&b, tool, nil); err != nil {
		t.Fatal(err)
	}
	if got := readJUnit(t, b.Bytes()); got.Tests != 1 || got.Failures != 0 || got.Cases[0].Failure != nil {
		t.Errorf("no findings are %+v, want one test that passed", got)
	}
}
