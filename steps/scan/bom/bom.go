// Package bom lists what an image holds, in the formats of SBOMs.
//
// The documents are made by Trivy's writers, and so carry what tools know from
// Trivy's: package URLs, layers, source packages. They list packages, not
// vulnerabilities: what an image holds stays true, what is known of it does not.
package bom

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/aquasecurity/trivy/pkg/clock"
	"github.com/aquasecurity/trivy/pkg/sbom/cyclonedx"
	"github.com/aquasecurity/trivy/pkg/sbom/spdx"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/uuid"
	"github.com/spdx/tools-golang/spdx/v2/common"

	"github.com/imagewright/imagewright/internal/step"
)

// The formats, with Trivy's names for them.
const (
	CycloneDX = "cyclonedx" // 1.6, JSON
	SPDX      = "spdx-json" // 2.3
)

// Formats returns all formats.
func Formats() []string { return []string{CycloneDX, SPDX} }

// program is what made the document, beside Trivy's writers.
const program = "imagewright-scan"

// Render returns the packages of report, which is about one image, as an SBOM.
//
// Time and identifiers come from the report's: the same report is the same
// bytes.
func Render(ctx context.Context, format string, report types.Report) ([]byte, error) {
	if !slices.Contains(Formats(), format) {
		return nil, fmt.Errorf("SBOM format %q is not known", format)
	}
	report.Results = packagesOnly(report.Results)
	ctx = clock.With(ctx, report.CreatedAt)
	var document []byte
	err := withIdentifiers(format, report, func() (err error) {
		if format == CycloneDX {
			document, err = renderCycloneDX(ctx, report)
		} else {
			document, err = renderSPDX(ctx, report)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("SBOM as %s: %w", format, err)
	}
	return document, nil
}

// packagesOnly returns what results say of packages. The copies are the
// writers' to change, as they do.
func packagesOnly(results types.Results) types.Results {
	var packages types.Results
	for _, r := range results {
		if r.Class == types.ClassOSPkg || r.Class == types.ClassLangPkg {
			own := slices.Clone(r.Packages)
			packages = append(packages, types.Result{Target: r.Target, Class: r.Class, Type: r.Type, Packages: own})
		}
	}
	return packages
}

func renderCycloneDX(ctx context.Context, report types.Report) ([]byte, error) {
	m := cyclonedx.NewMarshaler(trivyVersion())
	bom, err := m.MarshalReport(ctx, report)
	if err != nil {
		return nil, err
	}
	tools := bom.Metadata.Tools.Components
	*tools = append(*tools, cdx.Component{Type: cdx.ComponentTypeApplication, Name: program, Version: step.Version()})
	var b bytes.Buffer
	e := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON)
	e.SetPretty(true)
	e.SetEscapeHTML(false)
	err = e.EncodeVersion(bom, cdx.SpecVersion1_6) // the newest that its readers all know
	return b.Bytes(), err
}

func renderSPDX(ctx context.Context, report types.Report) ([]byte, error) {
	doc, err := spdx.NewMarshaler(trivyVersion()).MarshalReport(ctx, report)
	if err != nil {
		return nil, err
	}
	for _, p := range doc.Packages {
		// The text of the specification has OPERATING-SYSTEM, its JSON schema this:
		// https://github.com/spdx/spdx-spec/blob/support/2.3/schemas/spdx-schema.json
		p.PrimaryPackagePurpose = strings.ReplaceAll(p.PrimaryPackagePurpose, "-", "_")
	}
	doc.CreationInfo.Creators = append(doc.CreationInfo.Creators, common.Creator{CreatorType: "Tool", Creator: program + "-" + step.Version()})
	data, err := json.MarshalIndent(doc, "", "  ")
	return append(data, '\n'), err
}

// identifiers is held while the writers' random numbers are ours: they come
// from one source for the whole process.
var identifiers sync.Mutex

// withIdentifiers calls write with identifiers that follow from the report.
func withIdentifiers(format string, report types.Report, write func() error) error {
	identifiers.Lock()
	defer identifiers.Unlock()
	seed := sha256.Sum256(fmt.Appendf(nil, "%s %s %q %s", format, report.Metadata.ImageID, report.ArtifactName, report.CreatedAt.UTC()))
	uuid.SetRand(rand.NewChaCha8(seed))
	defer uuid.SetRand(nil)
	return write()
}

// trivyVersion is that of the writers.
func trivyVersion() string {
	const module = "github.com/aquasecurity/trivy"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version[min(len(m.Version), 1):] // as Trivy writes it, without the v
			}
		}
	}
	return "unknown"
}
