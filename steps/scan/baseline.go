package scan

import (
	"encoding/json"
	"errors"
	"regexp"

	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/internal/finding"
)

// baseline are the findings of an earlier report, by their keys.
type baseline map[string]bool

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
		for _, f := range findings(types.Results{result}, nil) {
			known[baselineKey(f)] = true
		}
	}
	return known, nil
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
