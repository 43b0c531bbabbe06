package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/finding"
)

var tool = Tool{Name: "imagewright-scan", Version: "v1.2.3", URL: "https://github.com/imagewright/imagewright", Subject: "acme/hello"}

// hostile is what a crafted image can put into any text of a finding.
const hostile = "a|b\n::error::x ##[add-mask]y \x1b[31m\x07\u202e\xff <script>alert(1)</script> [z](javascript:0) `c` https://evil.example"

func sample() []finding.Finding {
	return []finding.Finding{
		{
			Severity: finding.Critical, Rule: "CVE-2022-37434", Title: "zlib: heap overflow", Detail: "zlib through 1.2.12 has…",
			Message: "zlib1g 1:1.2.11 has CVE-2022-37434", Fix: "update zlib1g to 1:1.2.11.dfsg-2+deb11u2", Score: 9.8,
			Links: []string{"https://avd.aquasec.com/nvd/cve-2022-37434", "javascript:alert(1)", "https://nvd.nist.gov/vuln/detail/CVE-2022-37434"},
			Place: finding.Place{File: "acme/hello", Package: "zlib1g", Version: "1:1.2.11"},
		},
		{Severity: finding.Critical, Rule: "CVE-2022-37434", Message: "zlib1g again", Place: finding.Place{Package: "zlib1g"}},
		{Severity: finding.High, Rule: "build-failed", Message: "RUN failed", Place: finding.Place{File: "../../etc/Docker file", Line: 7, EndLine: 9}},
		{Severity: finding.Low, Rule: hostile, Title: hostile, Detail: hostile, Message: hostile, Fix: hostile, Links: []string{hostile}, Place: finding.Place{File: hostile, Package: hostile, Version: hostile, Layer: hostile}},
		{Severity: finding.Unknown, Rule: "X", Message: "m", Score: 99, Place: finding.Place{File: "c:/x"}},
	}
}

func TestSARIFHoldsWhatGitHubNeeds(t *testing.T) {
	for name, findings := range map[string][]finding.Finding{"nothing": nil, "sample": sample()} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteSARIF(&b, tool, findings); err != nil {
				t.Fatal(err)
			}
			if n := checkSARIF(t, b.Bytes()); n != len(findings) {
				t.Errorf("%d results for %d findings", n, len(findings))
			}
			if dir := os.Getenv("SARIF_OUT"); dir != "" { // to hold it against the published schema by hand
				if err := os.WriteFile(filepath.Join(dir, name+".sarif"), b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// checkSARIF checks the part of SARIF 2.1.0 that is written here, and GitHub's
// demands on it. It returns the number of results.
func checkSARIF(t *testing.T, data []byte) int {
	t.Helper()
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version, InformationURI string
					Rules                         []struct {
						ID                                string
						ShortDescription, FullDescription struct{ Text string }
						HelpURI                           string
						Help                              struct{ Text, Markdown string }
						DefaultConfiguration              struct{ Level string }
						Properties                        map[string]any
					}
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, EndLine int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatalf("SARIF is not JSON: %v", err)
	}
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 {
		t.Fatalf("version %q, schema %q, %d runs; want 2.1.0, a schema and one run", log.Version, log.Schema, len(log.Runs))
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || run.Tool.Driver.Rules == nil || run.Results == nil {
		t.Errorf("driver name, rules or results missing (empty lists are not null): %s", data)
	}
	for i, r := range run.Tool.Driver.Rules {
		sev, _ := r.Properties["security-severity"].(string)
		if n, err := strconv.ParseFloat(sev, 64); err != nil || n < 0 || n > 10 || !regexp.MustCompile(`^\d+\.\d$`).MatchString(sev) {
			t.Errorf("rule %d: security-severity %q is no string from 0.0 to 10.0", i, sev)
		}
		for field, text := range map[string]string{"id": r.ID, "shortDescription": r.ShortDescription.Text, "fullDescription": r.FullDescription.Text, "help.text": r.Help.Text, "help.markdown": r.Help.Markdown} {
			if text == "" {
				t.Errorf("rule %d: %s is empty", i, field)
			}
		}
		if !strings.Contains(fmt.Sprint(r.Properties["tags"]), "security") {
			t.Errorf("rule %d: tags %v; want security among them", i, r.Properties["tags"])
		}
		if strings.Contains(r.Help.Markdown, "<script") || strings.Contains(r.Help.Markdown, "z](javascript") {
			t.Errorf("rule %d: help holds markup of the finding: %q", i, r.Help.Markdown)
		}
	}
	for i, r := range run.Results {
		if r.RuleIndex < 0 || r.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("result %d: rule index %d is not rule %q", i, r.RuleIndex, r.RuleID)
		}
		if !regexp.MustCompile(`^(error|warning|note)$`).MatchString(r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Errorf("result %d: level %q, message %q, %d locations", i, r.Level, r.Message.Text, len(r.Locations))
			continue
		}
		place := r.Locations[0].PhysicalLocation
		uri, err := url.Parse(place.ArtifactLocation.URI)
		if err != nil || uri.IsAbs() || uri.Path == "" || strings.HasPrefix(uri.Path, "/") || strings.Contains(uri.Path, "..") {
			t.Errorf("result %d: address %q (%v); want a relative one below the root", i, place.ArtifactLocation.URI, err)
		}
		if place.Region.StartLine < 1 || place.Region.EndLine < place.Region.StartLine {
			t.Errorf("result %d: region %+v; want lines from 1", i, place.Region)
		}
		if r.PartialFingerprints["primaryLocationLineHash"] == "" {
			t.Errorf("result %d: no fingerprint; each upload would open it again", i)
		}
	}
	return len(run.Results)
}

func TestAFindingWithoutAFileIsPlacedAtTheSubject(t *testing.T) {
	var b bytes.Buffer
	if err := WriteSARIF(&b, tool, []finding.Finding{{Rule: "R", Message: "m", Place: finding.Place{Package: "zlib1g"}}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"uri": "acme/hello"`) {
		t.Errorf("want the subject as the place:\n%s", b.String())
	}
}

func TestSecuritySeverityNeverContradictsTheSeverity(t *testing.T) {
	for _, tc := range []struct {
		severity finding.Severity
		score    float64
		want     string
	}{
		{finding.Critical, 9.8, "9.8"},
		{finding.Critical, 0, "9.5"},
		{finding.Low, 9.8, "2.0"}, // Debian rated it lower than the NVD
		{finding.High, 7.5, "7.5"},
		{finding.High, 9.1, "8.0"},
		{finding.Medium, 0, "5.5"},
		{finding.Unknown, 5, "0.0"},
	} {
		if got := securitySeverity(finding.Finding{Severity: tc.severity, Score: tc.score}); got != tc.want {
			t.Errorf("severity %v with score %.1f is shown as %s, want %s", tc.severity, tc.score, got, tc.want)
		}
	}
}

func TestFingerprintsStayWhileVersionsAndLinesMove(t *testing.T) {
	f := finding.Finding{Rule: "CVE-1", Place: finding.Place{File: "a", Line: 1, Package: "p", Version: "1"}}
	moved := f
	moved.Place.Line, moved.Place.Version = 9, "2"
	if a, b := (fingerprints{}).next(f), (fingerprints{}).next(moved); a != b {
		t.Errorf("fingerprints differ after an update that fixed nothing: %s, %s", a, b)
	}
	both := fingerprints{}
	if a, b := both.next(f), both.next(f); a == b {
		t.Errorf("two findings of one run share the fingerprint %s", a)
	}
	split := f
	split.Rule, split.Place.File = "CVE-", "1a"
	if a, b := (fingerprints{}).next(f), (fingerprints{}).next(split); a == b {
		t.Error("different findings whose fields join to the same text share a fingerprint")
	}
}

func TestSARIFLeavesOutWhatGitHubWouldRefuseAndSaysSo(t *testing.T) {
	many := make([]finding.Finding, maxSARIFResults+2)
	for i := range many {
		many[i] = finding.Finding{Rule: "R", Message: "m"}
	}
	var b bytes.Buffer
	if err := WriteSARIF(&b, tool, many); err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(b.Bytes(), []byte(`"ruleId"`)); got != maxSARIFResults {
		t.Errorf("%d results, want %d", got, maxSARIFResults)
	}
	if !bytes.Contains(b.Bytes(), []byte("2 findings are left out")) {
		t.Error("no notification counts what was left out")
	}
}
