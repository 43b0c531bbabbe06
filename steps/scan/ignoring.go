package scan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/bmatcuk/doublestar/v4"
	"github.com/package-url/packageurl-go"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/step"
)

// leftOut counts what the policy takes out of a report.
type leftOut struct {
	byStatus int
	ignored  int // by an ignore file; the JSON report still lists them
}

// apply takes out of a result what has one of statuses, then what an ignore file
// names: this goes to the result's modified findings, where Trivy puts it too.
func (i ignores) apply(r *types.Result, statuses []dbtypes.Status) (left leftOut) {
	target := r.Target
	r.Vulnerabilities = slices.DeleteFunc(r.Vulnerabilities, func(v types.DetectedVulnerability) bool {
		if slices.Contains(statuses, v.Status) {
			left.byStatus++
			return true
		}
		e, file := i.vulnerability(target, v)
		if e == nil {
			return false
		}
		r.ModifiedFindings = append(r.ModifiedFindings, ignored(types.FindingTypeVulnerability, v, e, file))
		left.ignored++
		return true
	})
	r.Secrets = slices.DeleteFunc(r.Secrets, func(s types.DetectedSecret) bool {
		e, file := i.secret(target, s)
		if e == nil {
			return false
		}
		r.ModifiedFindings = append(r.ModifiedFindings, ignored(types.FindingTypeSecret, s, e, file))
		left.ignored++
		return true
	})
	return left
}

func ignored(kind types.FindingType, f types.Finding, e *ignore, file string) types.ModifiedFinding {
	return types.ModifiedFinding{Type: kind, Status: types.FindingStatusIgnored, Statement: e.Statement, Source: file, Finding: f}
}

// vulnerability returns the first entry that accepts v, and its file; nil for
// none.
func (i ignores) vulnerability(target string, v types.DetectedVulnerability) (*ignore, string) {
	for _, file := range i {
		for _, e := range file.vulnerabilities {
			if e.ID == v.VulnerabilityID && (e.at(target) || e.at(v.PkgPath)) && e.of(v.PkgIdentifier.PURL) {
				e.used = true
				return e, file.name
			}
		}
	}
	return nil, ""
}

func (i ignores) secret(target string, s types.DetectedSecret) (*ignore, string) {
	for _, file := range i {
		for _, e := range file.secrets {
			if e.ID == s.RuleID && e.at(target) && len(e.PURLs) == 0 {
				e.used = true
				return e, file.name
			}
		}
	}
	return nil, ""
}

// at tells whether the entry is about path.
func (e *ignore) at(path string) bool {
	return len(e.Paths) == 0 || slices.ContainsFunc(e.Paths, func(pattern string) bool {
		ok, err := doublestar.Match(pattern, path)
		return ok && err == nil // the patterns were checked
	})
}

// of tells whether the entry is about a package. What an entry does not say, its
// version say, matches any.
func (e *ignore) of(p *packageurl.PackageURL) bool {
	return len(e.PURLs) == 0 || p != nil && slices.ContainsFunc(e.PURLs, func(want packageurl.PackageURL) bool {
		has := p.Qualifiers.Map()
		for key, value := range want.Qualifiers.Map() {
			if got, ok := has[key]; !ok || got != value {
				return false
			}
		}
		return want.Type == p.Type && want.Namespace == p.Namespace && want.Name == p.Name &&
			(want.Version == "" || want.Version == p.Version) && (want.Subpath == "" || want.Subpath == p.Subpath)
	})
}

// maxTold bounds the entries that the log lists of an ignore file.
const maxTold = 20

// tell says which entries are over, loudly, and which match nothing.
func (i ignores) tell(job *step.Job) {
	for _, file := range i {
		for n, e := range file.expired {
			if n == maxTold {
				job.Log.Warn("more entries are over", "file", file.name, "count", len(file.expired)-n)
				break
			}
			message := fmt.Sprintf("%s: %s is accepted no more: its entry expired on %s", file.name, e.ID, e.Expires.UTC().Format(time.DateOnly))
			job.Log.Warn(message)
			job.Annotate(ci.Annotation{Level: ci.Warning, File: job.Rel(job.Abs(file.name)), Line: e.line, Title: "Expired", Message: message})
		}
		var idle []string
		for _, e := range slices.Concat(file.vulnerabilities, file.secrets) {
			if !e.used && !slices.Contains(idle, e.ID) {
				idle = append(idle, e.ID)
			}
		}
		if len(idle) > 0 {
			job.Log.Info("entries that match nothing in this image", "file", file.name, "count", len(idle), "entries", strings.Join(idle[:min(len(idle), maxTold)], " "))
		}
	}
}
