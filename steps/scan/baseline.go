package scan

import (
	"encoding/json"
	"errors"
	"regexp"

	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/internal/finding"
)

// baseline are the findings of an earlier report: how many have a key.
type baseline map[string]int

// parseBaseline reads a JSON report, ours or Trivy's. No data, a fork's file say,
// is no baseline.
func parseBaseline(data []byte) (baseline, error) {
	if data == nil {
		return nil, nil
	}
	var r types.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.SchemaVersion != trivySchema {
		return nil, errors.New("it is no JSON report of Trivy's schema, version 2")
	}
	known := baseline{}
	for _, result := range r.Results {
		result.Target = platformSuffix.ReplaceAllString(result.Target, "")
		here := baseline{}
		for _, f := range findings(types.Results{result}, nil) {
			here[baselineKey(f)]++
		}
		for key, n := range here { // of another platform it is the same one again
			known[key] = max(known[key], n)
		}
	}
	return known, nil
}

// take tells whether a finding is in the baseline. Each secret in it stands for
// one: masked, a second one may look the same.
func (b baseline) take(f finding.Finding) bool {
	key := baselineKey(f)
	if b[key] == 0 {
		return false
	}
	if f.Kind == finding.Secret {
		b[key]--
	}
	return true
}

// platformSuffix is what a report of several platforms adds to a target.
var platformSuffix = regexp.MustCompile(` \([a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?\)$`)

// baselineKey stays the same while lines and versions move: a package that was
// updated and still has the flaw is no news. Of a file's secrets each is its own.
func baselineKey(f finding.Finding) string {
	if f.Kind == finding.Secret {
		return f.Fingerprint() + f.Match
	}
	return f.Fingerprint()
}
