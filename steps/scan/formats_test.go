package scan

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/record"
)

// finds are rules and where each was found: what every format must agree on.
func sorted(finds []string) []string {
	slices.Sort(finds)
	return finds
}

func (c *checkout) read(t *testing.T, name string, to any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	unmarshal := json.Unmarshal
	if strings.HasSuffix(name, ".xml") {
		unmarshal = xml.Unmarshal
	}
	if err := unmarshal(data, to); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, data)
	}
}

func (c *checkout) inJSON(t *testing.T) (finds []string) {
	for _, r := range c.report(t).Results {
		for _, v := range r.Vulnerabilities {
			finds = append(finds, v.VulnerabilityID+" "+v.PkgName)
		}
		for _, s := range r.Secrets {
			finds = append(finds, s.RuleID+" "+strings.TrimPrefix(r.Target, "/"))
		}
	}
	return sorted(finds)
}

func (c *checkout) inSARIF(t *testing.T) (finds []string) {
	var log struct {
		Runs []struct {
			Results []struct {
				RuleID    string
				Locations []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
					LogicalLocations []struct{ FullyQualifiedName string }
				}
			}
		}
	}
	c.read(t, "out.sarif", &log)
	for _, r := range log.Runs[0].Results {
		where := r.Locations[0].PhysicalLocation.ArtifactLocation.URI
		if logical := r.Locations[0].LogicalLocations; logical != nil {
			where, _, _ = strings.Cut(logical[0].FullyQualifiedName, "@")
		}
		finds = append(finds, r.RuleID+" "+where)
	}
	return sorted(finds)
}

func (c *checkout) inGitLab(t *testing.T) (finds []string) {
	var r struct {
		Vulnerabilities []struct {
			Identifiers []struct{ Value string }
			Location    struct {
				Dependency struct{ Package struct{ Name string } }
			}
		}
	}
	c.read(t, "out.gitlab.json", &r)
	for _, v := range r.Vulnerabilities {
		finds = append(finds, v.Identifiers[0].Value+" "+v.Location.Dependency.Package.Name)
	}
	return sorted(finds)
}

func (c *checkout) inJUnit(t *testing.T) (finds []string) {
	var r struct {
		Cases []struct {
			Class string `xml:"classname,attr"`
			Name  string `xml:"name,attr"`
		} `xml:"testsuite>testcase"`
	}
	c.read(t, "out.xml", &r)
	for _, v := range r.Cases {
		_, rule, _ := strings.Cut(v.Name, "] ")
		where, _, _ := strings.Cut(v.Class, "@")
		finds = append(finds, rule+" "+where)
	}
	return sorted(finds)
}

func TestEveryFormatHasTheSameFindings(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead+dpkgZlib), map[string]string{pyYAMLPath: pyYAML, "root/.aws/credentials": "[default]\n"})
	json := "json=" + filepath.Join(c.workspace(), "reports", "scan.json")
	c.scan(t, "--reports="+strings.Join([]string{json, "sarif=out.sarif", "gitlab=out.gitlab.json", "junit=out.xml", "codequality=out.quality.json", "markdown=out.md"}, "\n")).wantCode(t, 3)
	want := c.inJSON(t)
	if len(want) < 5 {
		t.Fatalf("the image has too little to compare: %v", want)
	}
	for format, got := range map[string][]string{"SARIF": c.inSARIF(t), "GitLab": c.inGitLab(t), "JUnit": c.inJUnit(t)} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s has other findings than JSON (-JSON +%s):\n%s", format, format, diff)
		}
	}
	var issues []struct{}
	c.read(t, "out.quality.json", &issues)
	if len(issues) != len(want) {
		t.Errorf("%d issues of code quality for %d findings", len(issues), len(want))
	}
	page, err := os.ReadFile(filepath.Join(c.dir, "out.md"))
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, "page", string(page), "scan .imagewright/image: fail", "| CRITICAL | CVE-2020-14343 |")
}

func TestFormatAndOutputAreTrivyActions(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead))
	r := c.scan(t, "--format=sarif", "--output=out.sarif")
	r.wantCode(t, 0)
	wantText(t, "stdout", r.stdout, "2 HIGH; fail-on critical: pass") // the table, as nothing else goes there
	if got := c.inSARIF(t); len(got) != 2 {
		t.Errorf("out.sarif has %v, want two findings", got)
	}
	if _, err := os.Stat(filepath.Join(c.workspace(), "reports", "scan.json")); err != nil {
		t.Errorf("output takes the default reports away: %v", err)
	}
	for _, format := range []string{"sarif", "gitlab", "codequality", "cyclonedx", "spdx-json"} {
		r := c.scan(t, "--format="+format)
		r.wantCode(t, 0)
		if !json.Valid([]byte(r.stdout)) || !strings.Contains(r.stderr, "2 HIGH; fail-on critical: pass") {
			t.Errorf("format %s: standard output is not JSON alone, or the log lacks the table:\n%s\n%s", format, r.stdout, r.stderr)
		}
	}
}

func TestPackagesCanBeLeftOutOfTheReport(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgHead))
	for arg, want := range map[string]int{"--list-all-pkgs": 1, "--no-list-all-pkgs": 0} {
		c.scan(t, arg).wantCode(t, 0)
		if r := c.report(t).Results[0]; len(r.Packages) != want || len(r.Vulnerabilities) != 2 {
			t.Errorf("%s: the report has %d packages and %d vulnerabilities", arg, len(r.Packages), len(r.Vulnerabilities))
		}
	}
}

// The two images of this index have the same packages, but for zlib.
func TestWhatSeveralPlatformsShareIsShownOnce(t *testing.T) {
	c := newCheckout(t)
	index, _ := multi(t, dpkgHead, dpkgHead+dpkgZlib)
	reference := strings.TrimSuffix(c.db, "/db:2") + "/acme/multi:v1"
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	r := c.scan(t, "--source="+reference, "--reports=json="+filepath.Join(c.workspace(), "reports", "scan.json")+"\nsarif=out.sarif\nspdx-json=out.spdx.json")
	r.wantCode(t, 3)
	wantText(t, "stdout", r.stdout, "zlib1g@1:1.2.13.dfsg-1 on linux/arm64", "1 CRITICAL, 2 HIGH; fail-on critical: fail")
	for _, cve := range []string{"CVE-2023-4911", "CVE-2023-6246"} {
		if n := strings.Count(r.stdout, cve); n != 1 {
			t.Errorf("the table has %s %d times, want once:\n%s", cve, n, r.stdout)
		}
	}
	if got := c.inSARIF(t); len(got) != 3 {
		t.Errorf("SARIF has %v, want three findings", got)
	}
	if got := c.inJSON(t); len(got) != 5 {
		t.Errorf("JSON has %v, want each platform's", got)
	}
	for platform, packages := range map[string]bool{"linux-amd64": false, "linux-arm64": true} {
		data, err := os.ReadFile(filepath.Join(c.dir, "out-"+platform+".spdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(data), "zlib1g"); got != packages {
			t.Errorf("the SBOM of %s lists zlib1g: %v, want %v", platform, got, packages)
		}
	}
	r = c.scan(t, "--source="+reference, "--format=cyclonedx")
	r.wantCode(t, 2)
	wantText(t, "stderr", r.stderr, "there are 2 platforms", "choose one with platform")
	c.scan(t, "--source="+reference, "--format=cyclonedx", "--platform=linux/amd64").wantCode(t, 0)
}

func TestScanStatesThePackagesWhereBuildWasAskedTo(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead))
	build := record.Build{Image: record.Image{Digest: digestOf(t, img).String()}, SBOM: true}
	if err := record.Write(c.workspace(), "build", &build); err != nil {
		t.Fatal(err)
	}
	c.scan(t).wantCode(t, 0)
	got, err := record.Read[record.Scan](c.workspace(), "scan")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Attestations) != 1 || got.Attestations[0].Path != "reports/sbom.intoto.json" || got.Attestations[0].Digest != build.Image.Digest {
		t.Fatalf("the record names the statements %+v", got.Attestations)
	}
	var s struct {
		Subject       []struct{ Digest map[string]string }
		PredicateType string
		Predicate     struct{ SPDXVersion, Name string }
	}
	c.read(t, ".imagewright/reports/sbom.intoto.json", &s)
	if s.PredicateType != "https://spdx.dev/Document" || s.Predicate.SPDXVersion != "SPDX-2.3" || "sha256:"+s.Subject[0].Digest["sha256"] != build.Image.Digest {
		t.Errorf("the statement is %+v", s)
	}
	c.build(t, debian(dpkgClean)) // nobody asks any more
	c.scan(t).wantCode(t, 0)
	if got, err = record.Read[record.Scan](c.workspace(), "scan"); err != nil || got.Attestations != nil {
		t.Errorf("the record names statements nobody asked for: %+v (%v)", got.Attestations, err)
	}
}
