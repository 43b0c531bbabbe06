package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/finding"
)

func TestTableHasOneLineAFinding(t *testing.T) {
	var b bytes.Buffer
	if err := WriteTable(&b, sample()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if len(lines) != 1+len(sample()) {
		t.Fatalf("%d lines for a head and %d findings:\n%s", len(lines), len(sample()), b.String())
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\r") || strings.Contains(b.String(), "##[") {
		t.Errorf("the table lets control characters or commands through:\n%q", b.String())
	}
	for _, want := range []string{"CRITICAL", "CVE-2022-37434", "zlib1g@1:1.2.11", "zlib: heap overflow", "update zlib1g to"} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("first row lacks %q: %s", want, lines[1])
		}
	}
}

func TestListsNameTheLayerWhereOneIsKnown(t *testing.T) {
	secret := finding.Finding{
		Severity: finding.Critical, Kind: finding.Secret, Rule: "aws-access-key-id", Title: "AWS Access Key ID", Message: "AWS Access Key ID: key=****",
		Place: finding.Place{File: "app/.env", Line: 3, LayerNumber: 2, Instruction: "COPY . /app", Platforms: []string{"linux/arm64"}}, Accepted: "in the baseline",
	}
	var table, page bytes.Buffer
	if err := errors.Join(WriteTable(&table, []finding.Finding{secret}), WriteMarkdown(&page, "fail", []finding.Finding{secret}, 1)); err != nil {
		t.Fatal(err)
	}
	want := "SEVERITY  RULE               WHERE                      LAYER           FIX  WHAT\n" +
		"CRITICAL  aws-access-key-id  app/.env:3 on linux/arm64  2, COPY . /app  -    (in the baseline) AWS Access Key ID: key=****\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	want = "### fail\n\n| severity | rule | where | what | fix | layer |\n|---|---|---|---|---|---|\n" +
		"| CRITICAL | aws-access-key-id | app/.env:3 on linux/arm64 | (in the baseline) AWS Access Key ID: key=\\*\\*\\*\\* |  | 2, COPY . /app |\n"
	if diff := cmp.Diff(want, page.String()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

func TestMarkdownRowsStayRows(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMarkdown(&b, "scan: fail", sample(), 4); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		rows++
		if pipes := strings.Count(line, "|") - strings.Count(line, `\|`); pipes != 6 {
			t.Errorf("a row has %d bars, want 6: %s", pipes, line)
		}
	}
	if rows != 2+4 {
		t.Errorf("%d table lines, want a head of 2 and 4 rows:\n%s", rows, b.String())
	}
	if !strings.Contains(b.String(), "\n1 more in the report.\n") {
		t.Errorf("the row left out is not counted:\n%s", b.String())
	}
	for _, bad := range []string{"<script", "z](javascript", "https://evil", "\x1b"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the summary lets %q through:\n%s", bad, b.String())
		}
	}
}

func TestMarkdownOfNothingIsTheVerdictAlone(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMarkdown(&b, "scan: pass", nil, 10); err != nil {
		t.Fatal(err)
	}
	if b.String() != "### scan: pass\n" {
		t.Errorf("summary without findings is %q", b.String())
	}
}

func TestCodeQualityHoldsWhatGitLabNeeds(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCodeQuality(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var issues []struct {
		Description, Fingerprint, Severity string
		CheckName                          string `json:"check_name"`
		Location                           struct {
			Path  string
			Lines struct{ Begin, End int }
		}
	}
	if err := json.Unmarshal(b.Bytes(), &issues); err != nil {
		t.Fatal(err)
	}
	if len(issues) != len(sample()) {
		t.Fatalf("%d issues for %d findings", len(issues), len(sample()))
	}
	seen := map[string]bool{}
	for i, is := range issues {
		if is.Description == "" || is.CheckName == "" || is.Location.Lines.Begin < 1 {
			t.Errorf("issue %d: a field is empty: %+v", i, is)
		}
		if seen[is.Fingerprint] || is.Fingerprint == "" {
			t.Errorf("issue %d: fingerprint %q is empty or not unique", i, is.Fingerprint)
		}
		seen[is.Fingerprint] = true
		if !strings.Contains("info minor major critical blocker", is.Severity) {
			t.Errorf("issue %d: severity %q is none of GitLab's", i, is.Severity)
		}
		if strings.HasPrefix(is.Location.Path, "/") || strings.Contains(is.Location.Path, "..") {
			t.Errorf("issue %d: path %q leaves the checkout", i, is.Location.Path)
		}
	}
	if got := issues[2].Location; got.Path != "etc/Docker file" || got.Lines.Begin != 7 || got.Lines.End != 9 {
		t.Errorf("a finding of lines 7 to 9 is placed at %+v", got)
	}
}

func TestCodeQualityOfNothingIsAnEmptyList(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCodeQuality(&b, []finding.Finding{}); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(b.String()) != "[]" {
		t.Errorf("no findings are %q, want []: null is refused", b.String())
	}
}
