package parser

import (
	"testing"

	"github.com/aquasecurity/trivy/pkg/types"
)

func TestReportsOfOneScanAreBoundedTogether(t *testing.T) {
	secrets := func(n int) *Report {
		return &Report{Results: types.Results{{Secrets: make([]types.DetectedSecret, n)}}}
	}
	vulnerabilities := &Report{Packages: maxPackages, Results: types.Results{{Vulnerabilities: make([]types.DetectedVulnerability, maxFindings/2)}}}
	if err := CheckSize(vulnerabilities, secrets(maxFindings/2)); err != nil {
		t.Errorf("as much as may be: %v", err)
	}
	if CheckSize(vulnerabilities, secrets(maxFindings/2+1)) == nil {
		t.Error("one finding more was let through")
	}
	if CheckSize(vulnerabilities, &Report{Packages: 1}) == nil {
		t.Error("one package more was let through")
	}
}
