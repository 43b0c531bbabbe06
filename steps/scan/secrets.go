package scan

import (
	"fmt"
	"strings"

	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/steps/scan/analysis"
)

// configTarget is what Trivy calls an image's configuration among files with
// secrets; those of the image begin with a slash.
const configTarget = "config.json"

// newSecret is a secret in a file, or a file that is one.
func newSecret(r types.Result, s types.DetectedSecret, in *traces) finding.Finding {
	f := finding.Finding{
		Kind:     finding.Secret,
		Severity: severity(s.Severity),
		Rule:     s.RuleID,
		Title:    s.Title,
		Message:  s.Title,
		Match:    strings.TrimSpace(s.Match),
		Fix:      "revoke it, and build without it",
		Place:    finding.Place{File: strings.TrimPrefix(r.Target, "/"), Line: s.StartLine, EndLine: s.EndLine},
	}
	if s.Category == sensitiveCategory {
		f.Fix = "leave it out, and revoke what it holds"
	}
	if r.Target == configTarget {
		f.Message += " in the image's configuration"
	}
	in.place(&f.Place, s.Layer)
	if by := in.removedBy(f.Place.File, s.Layer.DiffID); by > 0 {
		f.Message += fmt.Sprintf(" (removed by layer %d, still in the image)", by)
	}
	if f.Match != "" {
		f.Message += ": " + f.Match
	}
	return f
}

// inConfig tells whether a secret was found in the image's configuration, also
// one that is ignored.
func inConfig(results types.Results) bool {
	for _, r := range results {
		if r.Target == configTarget && len(r.Secrets)+len(r.ModifiedFindings) > 0 {
			return true
		}
	}
	return false
}

// sensitiveCategory is the category of rules about files, beside Trivy's.
const sensitiveCategory = "SensitiveFile"

// sensitiveRule says of a kind of sensitive files how bad one is, and why.
func sensitiveRule(kind analysis.SensitiveKind) (severity, title string) {
	switch kind {
	case analysis.AWSCredentials:
		return "CRITICAL", "Credentials of AWS"
	case analysis.PrivateKey:
		return "HIGH", "Private key as a file"
	case analysis.NpmToken:
		return "HIGH", "npm configuration that logs in"
	case analysis.DockerCredentials:
		return "HIGH", "Docker configuration that logs in"
	case analysis.Netrc:
		return "HIGH", "Passwords for hosts in .netrc"
	case analysis.PyPICredentials:
		return "HIGH", "Password for PyPI in .pypirc"
	case analysis.KubeConfig:
		return "HIGH", "Credentials of a Kubernetes cluster"
	case analysis.DotEnv:
		return "MEDIUM", "Environment file with settings"
	case analysis.GitDirectory:
		return "MEDIUM", "Git repository"
	}
	return "UNKNOWN", string(kind)
}

// withSensitive adds sensitive files to results as Trivy would report a secret in
// them, so that all that reads its reports knows them: with the other secrets of
// the file, if there are any.
func withSensitive(results types.Results, files []analysis.SensitiveFile) types.Results {
	at := map[string]int{}
	for i, r := range results {
		if r.Class == types.ClassSecret {
			at[r.Target] = i
		}
	}
	for _, f := range files {
		target := "/" + f.Path
		i, ok := at[target]
		if !ok {
			i = len(results)
			at[target] = i
			results = append(results, types.Result{Target: target, Class: types.ClassSecret})
		}
		severity, title := sensitiveRule(f.Kind)
		results[i].Secrets = append(results[i].Secrets, types.DetectedSecret{
			RuleID: "sensitive-" + string(f.Kind), Category: sensitiveCategory, Severity: severity, Title: title, Layer: f.Layer,
		})
	}
	return results
}

// removals are all files with secrets, and sensitive ones, that a later layer
// removes, with its number.
func removals(secrets []analysis.Removed, files []analysis.SensitiveFile) map[fileIn]int {
	all := make(map[fileIn]int, len(secrets)+len(files))
	for _, r := range secrets {
		all[fileIn{r.Path, r.Layer}] = r.By
	}
	for _, f := range files {
		if f.RemovedBy > 0 {
			all[fileIn{f.Path, f.Layer.DiffID}] = f.RemovedBy
		}
	}
	return all
}
