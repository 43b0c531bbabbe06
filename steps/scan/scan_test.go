package scan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/record"
)

func TestACriticalFindingIsRefusedWithTheCounts(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead+dpkgZlib), map[string]string{pyYAMLPath: pyYAML})
	digest := digestOf(t, img).String()

	r := c.scan(t)
	r.wantCode(t, 3)
	wantText(t, "stderr", r.stderr, "scan "+digest+": 2 CRITICAL, 2 HIGH; fail-on critical")
	wantText(t, "stdout", r.stdout, digest, "debian 12.5", "CVE-2020-14343", "PyYAML@5.3", "update to 5.4", "CVE-2023-45853", "will not fix", "2 CRITICAL, 2 HIGH; fail-on critical: fail")
	wantText(t, "outputs", c.outputs(t), "IW_SCAN_VERDICT=fail\n", "IW_SCAN_DIGEST="+digest+"\n", "IW_SCAN_CRITICAL=2\n", "IW_SCAN_HIGH=2\n", "IW_SCAN_LOW=0\n",
		"IW_SCAN_JSON=.imagewright/reports/scan.json\n", "IW_SCAN_SARIF=.imagewright/reports/scan.sarif\n")

	got, err := record.Read[record.Scan](c.workspace(), "scan")
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != digest || got.Verdict != record.Fail || got.ScannedAt.IsZero() {
		t.Errorf("record is %+v, want fail for %s", got, digest)
	}
	if diff := cmp.Diff(map[string]int{"CRITICAL": 2, "HIGH": 2, "MEDIUM": 0, "LOW": 0, "UNKNOWN": 0}, got.Counts); diff != "" {
		t.Errorf("recorded counts (-want +got):\n%s", diff)
	}
	if got.Database.Version != 2 || got.Database.Repository != c.db || got.Database.Digest == "" || got.Database.UpdatedAt.IsZero() {
		t.Errorf("the record does not say which database it was: %+v", got.Database)
	}
}

func TestWhatIsNotCriticalPasses(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead))
	r := c.scan(t)
	r.wantCode(t, 0)
	wantText(t, "stdout", r.stdout, "2 HIGH; fail-on critical: pass")
	wantText(t, "outputs", c.outputs(t), "IW_SCAN_VERDICT=pass\n", "IW_SCAN_HIGH=2\n")
	got, err := record.Read[record.Scan](c.workspace(), "scan")
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != record.Pass || got.Digest != digestOf(t, img).String() {
		t.Errorf("record is %+v, want a pass", got)
	}
}

func TestThePolicyDecidesAndTheReportsHoldAll(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead+dpkgZlib))
	for _, tc := range []struct {
		name  string
		args  []string
		code  int
		shown []string
		not   []string
		found int // in the report
	}{
		{"high takes critical with it", []string{"--fail-on=high"}, 3, []string{"fail-on critical,high: fail"}, nil, 3},
		{"none lets all pass", []string{"--fail-on=none"}, 0, []string{"fail-on none: pass"}, nil, 3},
		{"unknown alone is about unknown ones", []string{"--fail-on=unknown"}, 0, []string{"fail-on unknown: pass"}, nil, 3},
		{"unfixed ones can be left out", []string{"--ignore-unfixed"}, 0, []string{"2 HIGH (1 left out by status); fail-on critical: pass"}, []string{"CVE-2023-45853"}, 2},
		{"or those of a status", []string{"--ignore-status=will_not_fix"}, 0, []string{"2 HIGH (1 left out by status); fail-on critical: pass"}, []string{"CVE-2023-45853"}, 2},
		{"grace is not for the old", []string{"--grace-days=30"}, 3, []string{"1 CRITICAL, 2 HIGH; fail-on critical: fail"}, nil, 3},
		{"severity hides and does not forgive", []string{"--severity=HIGH"}, 3, []string{"(1 not shown)", "CVE-2023-4911"}, []string{"CVE-2023-45853"}, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := c.scan(t, tc.args...)
			r.wantCode(t, tc.code)
			wantText(t, "stdout", r.stdout, tc.shown...)
			for _, not := range tc.not {
				if strings.Contains(r.stdout, not) {
					t.Errorf("the table shows %s:\n%s", not, r.stdout)
				}
			}
			found := 0
			for _, result := range c.report(t).Results {
				found += len(result.Vulnerabilities)
			}
			if found != tc.found {
				t.Errorf("the report has %d vulnerabilities, want %d", found, tc.found)
			}
		})
	}
}

func TestTheReportHasTrivysSchema(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead), map[string]string{pyYAMLPath: pyYAML})
	r := c.scan(t, "--format=json", "--fail-on=none")
	r.wantCode(t, 0)
	wantText(t, "stderr", r.stderr, "CVE-2020-14343", "fail-on none: pass") // the table is not lost
	var got types.Report
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("stdout is not the report alone: %v\n%s", err, r.stdout)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if got.SchemaVersion != 2 || got.ArtifactType != "container_image" || got.Metadata.ImageID != config.String() || len(got.Metadata.DiffIDs) != 2 {
		t.Errorf("head of the report: %d %s %+v", got.SchemaVersion, got.ArtifactType, got.Metadata)
	}
	if got.Metadata.OS == nil || got.Metadata.OS.Family != "debian" || got.Metadata.OS.Name != "12.5" {
		t.Errorf("distribution in the report: %+v", got.Metadata.OS)
	}
	classes := map[string]string{}
	for _, result := range got.Results {
		for _, v := range result.Vulnerabilities {
			//lint:ignore SA1019 this is where reports have it
			classes[v.VulnerabilityID] = string(result.Class) + " " + v.PkgName + " " + v.FixedVersion + " " + v.Severity + " " + v.Layer.DiffID
		}
	}
	want := map[string]string{
		"CVE-2023-4911":  "os-pkgs libc6 2.36-9+deb12u3 HIGH " + got.Metadata.DiffIDs[0],
		"CVE-2023-6246":  "os-pkgs libc6 2.36-9+deb12u4 HIGH " + got.Metadata.DiffIDs[0],
		"CVE-2020-14343": "lang-pkgs PyYAML 5.4 CRITICAL " + got.Metadata.DiffIDs[1],
	}
	if diff := cmp.Diff(want, classes); diff != "" {
		t.Errorf("vulnerabilities (-want +got):\n%s", diff)
	}
}

func TestSARIFNamesThePlaceInTheImage(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead), map[string]string{pyYAMLPath: pyYAML})
	c.scan(t, "--reports=sarif=out/it.sarif").wantCode(t, 3)
	data, err := os.ReadFile(filepath.Join(c.dir, "out", "it.sarif"))
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, "SARIF", string(data), `"version": "2.1.0"`, `"uri": "`+pyYAMLPath+`"`, `"uri": ".imagewright/image"`, `"security-severity": "9.8"`)
	if _, err := os.Stat(filepath.Join(c.workspace(), "reports", "scan.json")); !os.IsNotExist(err) {
		t.Errorf("a report that nobody asked for was written: %v", err)
	}
	wantText(t, "outputs", c.outputs(t), "IW_SCAN_SARIF=out/it.sarif\n")
}

func TestBadInputsNameWhatIsAccepted(t *testing.T) {
	c := &checkout{dir: t.TempDir(), cache: t.TempDir(), db: "127.0.0.1:1/db:2"}
	for _, tc := range []struct {
		arg  string
		want string
	}{
		{"--fail-on=blocker", "want critical, high"},
		{"--fail-on=", "write none"},
		{"--severity=bad", "want critical, high"},
		{"--reports=xml=a.xml", "want FORMAT=PATH, with one of json, sarif, gitlab"},
		{"--scanners=misconfig", `"misconfig" is not accepted; want vuln, secret`},
		{"--scanners=", "nothing to look for"},
		{"--vuln-type=kernel", "want os, library"},
		{"--ignore-status=open", "want unknown, not_affected"},
		{"--grace-days=-1", "want a whole number from 0 up"},
		{"--baseline=nowhere.json", "input baseline: "},
		{"--secret-config=nowhere.yaml", "input secret-config: "},
		{"--platform=a/b/c/d", "want OS/ARCH"},
		{"--reports=sarif=.", "no regular file"},
		{"--platform=arm64", "want OS/ARCH"},
		{"--source=nowhere.tar", "no such file or directory"},
		{"--username=me", "IMAGEWRIGHT_SCAN_PASSWORD"},
		{"--fial-on=none", "did you mean fail-on"},
	} {
		t.Run(tc.arg, func(t *testing.T) {
			r := c.scan(t, tc.arg)
			r.wantCode(t, 2)
			wantText(t, "stderr", r.stderr, tc.want)
		})
	}
	r := c.scan(t, "--source=a.tar", "--input=b.tar")
	r.wantCode(t, 2)
	wantText(t, "stderr", r.stderr, "only one of them")
}
