package scan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/finding"
)

// findings turns the results of one image into findings.
func findings(results types.Results, in *traces) []finding.Finding {
	var all []finding.Finding
	for _, r := range results {
		for _, v := range r.Vulnerabilities {
			all = append(all, newVulnerability(r, v, in))
		}
		for _, s := range r.Secrets {
			all = append(all, newSecret(r, s, in))
		}
	}
	return all
}

func newVulnerability(r types.Result, v types.DetectedVulnerability, in *traces) finding.Finding {
	f := finding.Finding{
		Kind: finding.Vulnerability,
		//lint:ignore SA1019 Trivy puts the severity it chose among its sources here
		Severity: severity(v.Severity),
		Rule:     v.VulnerabilityID,
		Title:    v.Title,
		Detail:   v.Description,
		Message:  fmt.Sprintf("%s %s has %s", v.PkgName, v.InstalledVersion, v.VulnerabilityID),
		Fix:      fix(v),
		Score:    score(v),
		Links:    links(v),
		Place: finding.Place{
			File:    file(r, v),
			Package: v.PkgName,
			Version: v.InstalledVersion,
		},
	}
	if v.Title != "" {
		f.Message += ": " + v.Title
	}
	if v.PublishedDate != nil {
		f.Published = *v.PublishedDate
	}
	in.place(&f.Place, v.Layer)
	return f
}

// severity reads Trivy's. One that nobody knows is none.
func severity(name string) finding.Severity {
	s, err := finding.ParseSeverity(name)
	if err != nil {
		return finding.Unknown
	}
	return s
}

// fix says what to do: the version that fixes it, or why there is none.
func fix(v types.DetectedVulnerability) string {
	if v.FixedVersion != "" {
		return "update to " + v.FixedVersion
	}
	if v.Status == dbtypes.StatusUnknown || v.Status == dbtypes.StatusAffected {
		return ""
	}
	return strings.ReplaceAll(v.Status.String(), "_", " ")
}

// file is the place of a finding in the image: the package's file, or that of
// the application it belongs to. Packages of the distribution have none.
func file(r types.Result, v types.DetectedVulnerability) string {
	switch {
	case v.PkgPath != "":
		return v.PkgPath
	case r.Class == types.ClassLangPkg:
		return r.Target
	}
	return ""
}

// score is the CVSS score of the source that the severity came from, else the
// highest there is; version 3 before 2.
func score(v types.DetectedVulnerability) float64 {
	base := func(c dbtypes.CVSS) float64 {
		if c.V3Score > 0 {
			return c.V3Score
		}
		return c.V2Score
	}
	if s := base(v.CVSS[v.SeveritySource]); s > 0 {
		return s
	}
	highest := 0.0
	for _, c := range v.CVSS {
		highest = max(highest, base(c))
	}
	return highest
}

// maxLinks bounds the references of a finding; some have hundreds.
const maxLinks = 10

func links(v types.DetectedVulnerability) []string {
	all := v.References
	if v.PrimaryURL != "" {
		all = append([]string{v.PrimaryURL}, slices.DeleteFunc(slices.Clone(all), func(l string) bool { return l == v.PrimaryURL })...)
	}
	return all[:min(len(all), maxLinks)]
}

// placeOf is what reports call the image: its repository without tag or digest,
// so that an alert is the same one from build to build; a file's name for a
// file.
func placeOf(source string) string {
	if ref, err := name.ParseReference(source); err == nil && !path.IsAbs(source) && !strings.HasPrefix(source, ".") {
		return ref.Context().RepositoryStr()
	}
	return strings.TrimLeft(path.Clean("/"+source), "/")
}

// only returns the findings of the severities shown.
func only(all []finding.Finding, shown []finding.Severity) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f finding.Finding) bool { return !slices.Contains(shown, f.Severity) })
}
