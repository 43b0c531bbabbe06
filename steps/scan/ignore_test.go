package scan

import (
	"strings"
	"testing"
	"time"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/package-url/packageurl-go"
)

var today = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

const ignoreYAMLSample = `
vulnerabilities:
  - id: CVE-1
    statement: not reachable
  - id: CVE-2
    paths: ["usr/lib/**"]
  - id: CVE-3
    purls: [pkg:deb/debian/zlib1g]
  - id: CVE-4
    purls: ["pkg:deb/debian/zlib1g@1?arch=arm64"]
  - id: CVE-5
    expired_at: 2026-06-14
  - id: CVE-6
    expired_at: 2026-06-16T10:00:00Z
secrets:
  - id: aws-access-key-id
    paths: ["/app/test/*"]
misconfigurations:
  - id: AVD-DS-0002
`

func TestAnEntryAcceptsWhatItNames(t *testing.T) {
	parsed, err := packageurl.FromString("pkg:deb/debian/zlib1g@1?arch=amd64")
	if err != nil {
		t.Fatal(err)
	}
	purl := &parsed
	for _, tc := range []struct {
		name, file, content string
		id, path            string
		purl                *packageurl.PackageURL
		want                bool
	}{
		{"a line", ".trivyignore", "# base image\n\nCVE-1\n", "CVE-1", "", nil, true},
		{"another id", ".trivyignore", "CVE-1", "CVE-12", "", nil, false},
		{"a line of the day before", ".trivyignore", "CVE-1 exp:2026-06-16", "CVE-1", "", nil, true},
		{"a line that is over", ".trivyignore", "CVE-1 exp:2026-06-15", "CVE-1", "", nil, false},
		{"no limit", "a.yaml", ignoreYAMLSample, "CVE-1", "x", purl, true},
		{"a path", "a.yaml", ignoreYAMLSample, "CVE-2", "usr/lib/a/b.jar", purl, true},
		{"another path", "a.yaml", ignoreYAMLSample, "CVE-2", "opt/b.jar", purl, false},
		{"a package of any version", "a.yml", ignoreYAMLSample, "CVE-3", "", purl, true},
		{"what is no package of a URL", "a.yaml", ignoreYAMLSample, "CVE-3", "", nil, false},
		{"a qualifier", "a.yaml", ignoreYAMLSample, "CVE-4", "", purl, false},
		{"an entry that is over", "a.yaml", ignoreYAMLSample, "CVE-5", "", purl, false},
		{"an entry that is not over", "a.yaml", ignoreYAMLSample, "CVE-6", "", purl, true},
		{"a secret's entry is not about vulnerabilities", "a.yaml", ignoreYAMLSample, "aws-access-key-id", "/app/test/x", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := parseIgnores(tc.file, []byte(tc.content), today)
			if err != nil {
				t.Fatal(err)
			}
			v := types.DetectedVulnerability{VulnerabilityID: tc.id, PkgPath: tc.path}
			v.PkgIdentifier.PURL = tc.purl
			got, _ := ignores{file}.vulnerability("Java", v)
			if (got != nil) != tc.want {
				t.Errorf("%s at %q: entry %+v; accepted must be %v", tc.id, tc.path, got, tc.want)
			}
		})
	}
}

func TestSecretsAreAcceptedByRuleAndPath(t *testing.T) {
	file, err := parseIgnores("a.yaml", []byte(ignoreYAMLSample), today)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{"/app/test/key": true, "/app/key": false} {
		r := types.Result{Target: target, Class: types.ClassSecret, Secrets: []types.DetectedSecret{{RuleID: "aws-access-key-id"}, {RuleID: "other"}}}
		left := ignores{file}.apply(&r, nil)
		if got := left.ignored == 1; got != want || len(r.ModifiedFindings) != left.ignored || len(r.Secrets)+left.ignored != 2 {
			t.Errorf("secret in %s: %+v of %+v; accepted must be %v", target, left, r, want)
		}
	}
}

func TestAnIgnoreFileThatCannotBeMeantIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, file, content, want string }{
		{"a date", ".trivyignore", "CVE-1\nCVE-2 exp:soon", `.trivyignore: line 2: "exp:soon" is no date; want exp:YYYY-MM-DD`},
		{"a misspelt limit of a line", ".trivyignore", "CVE-1 expires:2026-07-01", `.trivyignore: line 1: "expires:2026-07-01" is not understood; want exp:YYYY-MM-DD`},
		{"no id", "a.yaml", "vulnerabilities: [{statement: x}]", "a.yaml: an entry has no id"},
		{"a misspelt limit", "a.yaml", "vulnerabilities: [{id: CVE-1, path: [a]}]", `unknown field "path"`},
		{"a misspelt list", "a.yaml", "vulnerabilites: [{id: CVE-1}]", `unknown field "vulnerabilites"`},
		{"a pattern", "a.yaml", "secrets: [{id: x, paths: ['a[']}]", `x: path "a[" is no pattern`},
		{"a package URL", "a.yaml", "vulnerabilities: [{id: CVE-1, purls: [zlib]}]", `CVE-1: "zlib" is no package URL`},
		{"no YAML", "a.yaml", "a: [", "a.yaml: "},
		{"a date in YAML", "a.yaml", "vulnerabilities: [{id: CVE-1, expired_at: soon}]", `CVE-1: expired_at: "soon" is no date; want YYYY-MM-DD`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseIgnores(tc.file, []byte(tc.content), today)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v; want %q", err, tc.want)
			}
		})
	}
}

func TestAReasonStandsBesideTheEntry(t *testing.T) {
	file, err := parseIgnores(".trivyignore", []byte("CVE-1 exp:2030-01-01 # not reachable\nCVE-2\n"), today)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range file.vulnerabilities {
		got = append(got, e.ID+": "+e.Statement)
	}
	if diff := cmp.Diff([]string{"CVE-1: not reachable", "CVE-2: "}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
