package scan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/finding"
)

// write puts a file into the checkout.
func (c *checkout) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAnIgnoredFindingIsListedWithItsReason(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead+dpkgZlib))
	c.write(t, ".trivyignore", "CVE-2023-45853 # minizip is not built\nCVE-1\nCVE-2023-4911 exp:2020-01-31\n")
	r := c.scan(t)
	r.wantCode(t, 0)
	wantText(t, "stdout", r.stdout, "2 HIGH (1 ignored); fail-on critical: pass")
	if strings.Contains(r.stdout, "CVE-2023-45853") {
		t.Errorf("the table has what is ignored:\n%s", r.stdout)
	}
	wantText(t, "stderr", r.stderr, ".trivyignore: CVE-2023-4911 is accepted no more: its entry expired on 2020-01-31", ".trivyignore:3: warning", "match nothing", "CVE-1")
	var got []types.ModifiedFinding
	for _, result := range c.report(t).Results {
		got = append(got, result.ModifiedFindings...)
	}
	if len(got) != 1 {
		t.Fatalf("the report lists %d ignored findings, want 1", len(got))
	}
	v, ok := got[0].Finding.(types.DetectedVulnerability)
	if !ok || v.VulnerabilityID != "CVE-2023-45853" || got[0].Statement != "minizip is not built" || got[0].Source != ".trivyignore" || got[0].Status != types.FindingStatusIgnored {
		t.Errorf("the report says of the ignored finding: %+v", got[0])
	}

	c.write(t, "mine.yaml", "vulnerabilities: [{id: CVE-2023-45853, purls: ['pkg:deb/debian/zlib1g']}]")
	r = c.scan(t, "--trivyignores=mine.yaml")
	r.wantCode(t, 0) // those named count, and only those
	if strings.Contains(r.stderr, "expired") {
		t.Errorf("a file that is not named counts:\n%s", r.stderr)
	}
	r = c.scan(t, "--trivyignores=nowhere")
	r.wantCode(t, 2)
	wantText(t, "stderr", r.stderr, "input trivyignores: ", "nowhere")
}

// A pull request from a fork must not bring the file that lets it pass.
func TestAForkDecidesNothingAboutTheGate(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead+dpkgZlib))
	c.scan(t, "--fail-on=none").wantCode(t, 0)
	data, err := os.ReadFile(filepath.Join(c.workspace(), "reports", "scan.json"))
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "ignores")
	if err := os.WriteFile(outside, []byte("CVE-2023-45853"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{".trivyignore", "named"} {
		c.write(t, file, "CVE-2023-45853")
	}
	c.write(t, "base.json", string(data))
	c.write(t, "trivy-secret.yaml", "disable-rules: [aws-access-key-id]")
	inside, empty := filepath.Join(t.TempDir(), "link"), filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(c.dir, "named"), inside); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		own  int // exit code of a run of the repository's own
		fork int
	}{
		{"a default file", nil, 0, 3},
		{"a named file", []string{"--trivyignores=named"}, 0, 3},
		{"a link into the checkout", []string{"--trivyignores=" + inside}, 0, 3},
		{"a baseline", []string{"--baseline=base.json", "--trivyignores=" + empty}, 0, 3},
		{"a file elsewhere", []string{"--trivyignores=" + outside}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.env = nil
			c.scan(t, tc.args...).wantCode(t, tc.own)
			c.env = []string{"GITLAB_CI=true", "CI_MERGE_REQUEST_IID=1", "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH=them/app", "CI_PROJECT_PATH=we/app"}
			r := c.scan(t, tc.args...)
			r.wantCode(t, tc.fork)
			wantText(t, "stderr", r.stderr, "is ignored in a run for a fork", "trivy-secret.yaml")
		})
	}
}

func TestTheBaselineHoldsBackNothingNew(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead+dpkgZlib))
	c.scan(t, "--reports=json=base.json", "--fail-on=none").wantCode(t, 0)
	r := c.scan(t, "--baseline=base.json")
	r.wantCode(t, 0)
	wantText(t, "stdout", r.stdout, "(in the baseline)", "1 CRITICAL, 2 HIGH (3 accepted); fail-on critical: pass")
	wantText(t, "outputs", c.outputs(t), "IW_SCAN_CRITICAL=1\n")

	updated := strings.Replace(dpkgZlib, "1:1.2.13.dfsg-1", "1:1.2.13.dfsg-2", 1) // still has the flaw
	c.build(t, debian(dpkgHead+updated), map[string]string{pyYAMLPath: pyYAML})
	r = c.scan(t, "--baseline=base.json")
	r.wantCode(t, 3)
	wantText(t, "stderr", r.stderr, ": 1 CRITICAL; fail-on critical") // PyYAML's alone

	c.write(t, "bad.json", `{"SchemaVersion": 1}`)
	r = c.scan(t, "--baseline=bad.json")
	r.wantCode(t, 2)
	wantText(t, "stderr", r.stderr, "input baseline: bad.json: it is no JSON report of Trivy's schema")
}

func TestTheBaselineOfSeveralPlatformsIsThatOfEach(t *testing.T) {
	report := types.Report{SchemaVersion: 2, Results: types.Results{{Target: "usr/bin/app (linux/arm64)", Class: types.ClassLangPkg,
		Vulnerabilities: []types.DetectedVulnerability{{VulnerabilityID: "CVE-1", PkgName: "stdlib"}}}}}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	known, err := parseBaseline(data)
	if err != nil {
		t.Fatal(err)
	}
	f := finding.Finding{Rule: "CVE-1", Place: finding.Place{File: "usr/bin/app", Package: "stdlib"}}
	if got := (plan{}).accepts(f, known, today); got != "in the baseline" {
		t.Errorf("the finding is accepted with %q, want that it is known", got)
	}
}

// Masked, the two lines are one.
func TestASecondSecretIsNewsThoughItLooksTheSame(t *testing.T) {
	secret := types.DetectedSecret{RuleID: "aws-access-key-id", Match: "key: ****"}
	of := func(platform string) types.Result {
		return types.Result{Target: "/app/keys (" + platform + ")", Class: types.ClassSecret, Secrets: []types.DetectedSecret{secret}}
	}
	data, err := json.Marshal(types.Report{SchemaVersion: 2, Results: types.Results{of("linux/amd64"), of("linux/arm64")}})
	if err != nil {
		t.Fatal(err)
	}
	known, err := parseBaseline(data)
	if err != nil {
		t.Fatal(err)
	}
	now := types.Result{Target: "/app/keys", Class: types.ClassSecret, Secrets: []types.DetectedSecret{secret, secret}}
	var got []string
	for _, f := range findings(types.Results{now}, nil) {
		got = append(got, (plan{}).accepts(f, known, today))
	}
	if diff := cmp.Diff([]string{"in the baseline", ""}, got); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}

func TestYoungVulnerabilitiesHaveTheirGrace(t *testing.T) {
	day := 24 * time.Hour
	for _, tc := range []struct {
		name  string
		f     finding.Finding
		grace time.Duration
		want  string
	}{
		{"young", finding.Finding{Kind: finding.Vulnerability, Published: today.Add(-6 * day)}, 7 * day, "published 2026-06-09"},
		{"old", finding.Finding{Kind: finding.Vulnerability, Published: today.Add(-7 * day)}, 7 * day, ""},
		{"of unknown age", finding.Finding{Kind: finding.Vulnerability}, 7 * day, ""},
		{"a secret", finding.Finding{Kind: finding.Secret, Published: today}, 7 * day, ""},
		{"no grace", finding.Finding{Kind: finding.Vulnerability, Published: today}, 0, ""},
		{"no grace, and a clock that is slow", finding.Finding{Kind: finding.Vulnerability, Published: today.Add(day)}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (plan{grace: tc.grace}).accepts(tc.f, nil, today); got != tc.want {
				t.Errorf("accepted with %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStatusesAreLeftOutAsTrivyDoes(t *testing.T) {
	for _, tc := range []struct {
		name    string
		unfixed bool
		list    []string
		want    string
	}{
		{"none", false, nil, ""},
		{"unfixed is all but fixed", true, nil, "unknown not_affected affected under_investigation will_not_fix fix_deferred end_of_life"},
		{"a list", false, []string{"will_not_fix", "affected"}, "will_not_fix affected"},
		{"a list counts instead", true, []string{"end_of_life"}, "end_of_life"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			statuses, err := statusesToLeaveOut(tc.unfixed, tc.list)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range statuses {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
		})
	}
}
