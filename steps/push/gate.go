package push

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// passGate refuses an image that scan did not pass. It asks nobody but the
// workspace: what may not go out is known before the first request.
func passGate(gate string, job *step.Job, digest string) error {
	if gate == "off" {
		return nil
	}
	err := verdict(job.Workspace, digest)
	if err == nil || gate == "require" {
		return err
	}
	job.Log.Warn("scan gate: " + err.Error())
	job.Annotate(ci.Annotation{Level: ci.Warning, Title: "pushed without a passing scan", Message: err.Error()})
	return nil
}

// verdict returns nil if the scan's record says that this digest passed.
func verdict(workspace, digest string) error {
	scan, err := record.Read[record.Scan](workspace, "scan")
	switch {
	case errors.Is(err, record.ErrNotFound):
		return fault.Refused(fmt.Errorf("there is no scan verdict for %s", digest),
			"run imagewright-scan before, or set scan-gate to warn or off")
	case err != nil:
		return err
	case scan.Digest != digest:
		return fault.Refused(fmt.Errorf("the scan verdict is for %q and not for %s", scan.Digest, digest),
			"a verdict belongs to one image: scan the one that is to be pushed")
	case !lookedForAll(scan):
		return fault.Refused(fmt.Errorf("the scan of %s looked for %s only", digest, strings.Join(slices.Concat(scan.Scanners, scan.PkgTypes), ", ")),
			"a verdict is about vulnerabilities of all packages: scan without pkg-types, and with vuln among scanners; or set scan-gate to warn or off")
	case scan.Verdict != record.Pass:
		return fault.Refused(fmt.Errorf("the scan of %s did not pass: verdict %q%s", digest, string(scan.Verdict), counted(scan.Counts)),
			"see what imagewright-scan reported; set scan-gate to warn or off to push all the same")
	}
	return nil
}

// counted is ": 2 CRITICAL, 5 HIGH", the worst first, or nothing.
func counted(recorded map[string]int) string {
	counts := finding.Counts{}
	for name, n := range recorded {
		if severity, err := finding.ParseSeverity(name); err == nil && n > 0 {
			counts[severity] = n
		}
	}
	if len(counts) == 0 {
		return ""
	}
	return ": " + counts.String()
}

// lookedForAll tells whether vulnerabilities of all packages were looked for. A
// scan for secrets alone passes images that nobody looked up.
func lookedForAll(scan record.Scan) bool {
	return (len(scan.Scanners) == 0 || slices.Contains(scan.Scanners, "vuln")) &&
		(len(scan.PkgTypes) == 0 || slices.Contains(scan.PkgTypes, "os") && slices.Contains(scan.PkgTypes, "library"))
}
