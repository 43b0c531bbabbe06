package test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/types"
)

// found lists the packages in a JSON report, one a line: path, name, version and
// the vulnerabilities.
func found(t *testing.T, report string) string {
	t.Helper()
	var r types.Report
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatalf("the report is no JSON: %v\n%.2000s", err, report)
	}
	var lines []string
	for _, result := range r.Results {
		for _, p := range result.Packages {
			line := fmt.Sprintf("%s %s %s", p.FilePath, p.Name, p.Version)
			for _, v := range result.Vulnerabilities {
				if v.PkgName == p.Name && v.PkgPath == p.FilePath {
					line += " " + v.VulnerabilityID
				}
			}
			lines = append(lines, line+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
