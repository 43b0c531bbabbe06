package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/imagewright/imagewright/internal/finding"
)

var scanned = ContainerScan{
	Tool: tool, Image: "ghcr.io/acme/hello:v1", System: "debian 12.5",
	Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), End: time.Date(2026, 1, 2, 4, 4, 6, 0, time.FixedZone("", 3600)),
}

func TestGitLabHoldsWhatItsSchemaDemands(t *testing.T) {
	long := finding.Finding{Rule: strings.Repeat("é", 300), Title: strings.Repeat("é", 300), Detail: strings.Repeat("é", 30_000), Fix: strings.Repeat("é", 9000)}
	for name, tc := range map[string]struct {
		scan     ContainerScan
		findings []finding.Finding
	}{
		"nothing":   {scanned, nil},
		"sample":    {scanned, append(sample(), long)},
		"half-told": {ContainerScan{Tool: Tool{Name: "scan"}}, []finding.Finding{{}}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteGitLab(&b, tc.scan, tc.findings); err != nil {
				t.Fatal(err)
			}
			checkGitLab(t, b.Bytes(), len(tc.findings))
			if dir := os.Getenv("REPORT_OUT"); dir != "" { // to hold it against the published schema by hand
				if err := os.WriteFile(filepath.Join(dir, name+".gitlab.json"), b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// checkGitLab checks what GitLab's schema 15.2.1 demands of the fields that are
// written here.
func checkGitLab(t *testing.T, data []byte, findings int) {
	t.Helper()
	var r gitlabReport
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("the report is not what was written: %v", err)
	}
	if !bytes.Contains(data, []byte(`"vulnerabilities": [`)) || len(r.Vulnerabilities) != findings {
		t.Errorf("%d vulnerabilities for %d findings, or no list: null is refused", len(r.Vulnerabilities), findings)
	}
	moment := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`)
	if r.Version != "15.2.1" || r.Scan.Type != "container_scanning" || r.Scan.Status != "success" || !moment.MatchString(r.Scan.Start) || !moment.MatchString(r.Scan.End) {
		t.Errorf("head of the report: version %s, %+v", r.Version, r.Scan)
	}
	for _, tool := range []gitlabTool{r.Scan.Analyzer, r.Scan.Scanner} {
		if tool.ID == "" || tool.Name == "" || tool.Version == "" || tool.Vendor.Name == "" {
			t.Errorf("a tool lacks a field: %+v", tool)
		}
	}
	ids := map[string]bool{}
	for i, v := range r.Vulnerabilities {
		if v.ID == "" || ids[v.ID] {
			t.Errorf("vulnerability %d: id %q is empty or not unique", i, v.ID)
		}
		ids[v.ID] = true
		if !slices.Contains([]string{"Info", "Unknown", "Low", "Medium", "High", "Critical"}, v.Severity) {
			t.Errorf("vulnerability %d: severity %q is none of GitLab's", i, v.Severity)
		}
		for what, l := range map[string]struct {
			text string
			max  int
		}{"name": {v.Name, 255}, "description": {v.Description, 1 << 20}, "solution": {v.Solution, 7000}, "operating_system": {v.Location.System, 255}} {
			if n := utf8.RuneCountInString(l.text); n > l.max {
				t.Errorf("vulnerability %d: %s has %d characters; %d are allowed", i, what, n, l.max)
			}
		}
		if v.Location.System == "" || v.Location.Image == "" || v.Location.Dependency.Package.Name == "" {
			t.Errorf("vulnerability %d: a part of its location is empty: %+v", i, v.Location)
		}
		if len(v.Identifiers) == 0 {
			t.Errorf("vulnerability %d has no identifier", i)
		}
		links := v.Links
		for _, id := range v.Identifiers {
			if id.Type == "" || id.Name == "" || id.Value == "" {
				t.Errorf("vulnerability %d: identifier %+v lacks a field", i, id)
			}
			if id.URL != "" {
				links = append(links, gitlabLink{id.URL})
			}
		}
		for _, l := range links {
			if !regexp.MustCompile(`^https?://.+`).MatchString(l.URL) {
				t.Errorf("vulnerability %d: link %q", i, l.URL)
			}
		}
		for _, bad := range []string{"<script", "z](javascript", "\x1b", "\u202e"} {
			if strings.Contains(v.Description, bad) || strings.Contains(v.Location.Dependency.Package.Name, "\x1b") {
				t.Errorf("vulnerability %d lets %q through: %+v", i, bad, v)
			}
		}
	}
}

func TestGitLabIdentifiesAFindingByWhoNumberedIt(t *testing.T) {
	for _, tc := range []struct {
		f    finding.Finding
		want string
	}{
		{finding.Finding{Rule: "CVE-2022-37434"}, "cve"},
		{finding.Finding{Rule: "GHSA-4374-p667-p6c8"}, "ghsa"},
		{finding.Finding{Rule: "aws-access-key-id", Kind: finding.Secret}, "secret_rule"},
		{finding.Finding{Rule: "1-2"}, "imagewright"},
	} {
		if got := newGitLabIdentifier(tc.f); got.Type != tc.want || got.Value != tc.f.Rule {
			t.Errorf("%s is identified by %+v, want type %s", tc.f.Rule, got, tc.want)
		}
	}
}
