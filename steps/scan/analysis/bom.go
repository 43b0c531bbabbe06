package analysis

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/attestation"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	"github.com/aquasecurity/trivy/pkg/sbom"
	"github.com/aquasecurity/trivy/pkg/sbom/core"
	"github.com/aquasecurity/trivy/pkg/sbom/cyclonedx"
	sbomio "github.com/aquasecurity/trivy/pkg/sbom/io"
	"github.com/aquasecurity/trivy/pkg/sbom/spdx"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/uuid"
)

const nameBOM = "sbom"

// bitnamiDir is where Bitnami's images have an SBOM in the directory of each
// component, which is known by nothing else.
const bitnamiDir = "opt/bitnami/"

// inBOM bounds an SBOM in JSON. An object of it is at least a kilobyte of values
// before it is a package; a package of Trivy's own SBOMs has a dozen of them.
var inBOM = bounds{size: 32 << 20, depth: 100, values: 1 << 20, objects: 100_000, text: noText}

const (
	maxBOMLines = 500_000   // of an SBOM that is no JSON
	maxCopies   = 4_000_000 // of packages: each is copied once for every package above it
)

// shippedBOM reports whether the file at p is an SBOM in the image. Those inside
// Python's packages (PEP 770) repeat what is in the package.
func shippedBOM(p string) bool {
	if strings.Contains(p, ".dist-info/sboms/") {
		return false
	}
	for _, end := range []string{".spdx", ".spdx.json", ".cdx", ".cdx.json"} {
		if strings.HasSuffix(p, end) {
			return true
		}
	}
	return false
}

// bom reads an SBOM: the packages in it count like those found by looking.
func (l *layer) bom(ctx context.Context, p string, c *content) error {
	if err := bomFits(c); err != nil {
		return err
	}
	format, err := sbom.DetectFormat(c)
	if err != nil {
		return err
	}
	if format == sbom.FormatUnknown {
		return notBOM(p, c)
	}
	bom, err := parseBOM(c, format)
	if err != nil {
		return err
	}
	if err := copiesFit(bom); err != nil {
		return err
	}
	var found types.SBOM
	if err := sbomio.NewDecoder(bom).Decode(ctx, &found); err != nil {
		return err
	}
	if strings.HasPrefix(p, bitnamiDir) {
		placeBitnami(path.Dir(p), found.Applications)
	}
	l.addBOM(p, found)
	return nil
}

// notBOM judges a file that is named like an SBOM and is none. The endings are
// those of other things too, of database indexes for one.
func notBOM(p string, c *content) error {
	if strings.HasPrefix(p, bitnamiDir) {
		return errors.New("this is no SBOM")
	}
	if path.Ext(p) != ".json" {
		return nil
	}
	data, err := c.bytes()
	if err == nil && !json.Valid(data) {
		err = errors.New("this is no JSON")
	}
	return err
}

// bomFits checks how much an SBOM holds, and the one inside if it is signed.
func bomFits(c *content) error {
	data, err := inBOM.read(c)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		if n := bytes.Count(data, []byte("\n")); n > maxBOMLines {
			return fmt.Errorf("%w: %d lines, more than %d", errTooLarge, n, maxBOMLines)
		}
		return nil
	}
	if err := inBOM.checkJSON(data); err != nil {
		return err
	}
	var signed struct {
		Payload      string `json:"payload"`
		DSSEEnvelope struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if json.NewDecoder(bytes.NewReader(data)).Decode(&signed) != nil {
		return nil
	}
	for _, payload := range []string{signed.Payload, signed.DSSEEnvelope.Payload} {
		if inside, err := base64.StdEncoding.DecodeString(payload); err == nil {
			if err := inBOM.checkJSON(inside); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseBOM reads an SBOM as it is, before anything is made of it.
func parseBOM(c *content, format sbom.Format) (*core.BOM, error) {
	if _, err := c.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	cdx, spd := core.NewBOM(core.Options{GenerateBOMRef: true}), core.NewBOM(core.Options{})
	cyclone, spdxDoc := &cyclonedx.BOM{BOM: cdx}, &spdx.SPDX{BOM: spd}
	decoder := json.NewDecoder(c)
	switch format {
	case sbom.FormatCycloneDXJSON:
		return cdx, decoder.Decode(cyclone)
	case sbom.FormatSPDXJSON:
		return spd, decoder.Decode(spdxDoc)
	case sbom.FormatSPDXTV:
		return spd, spdx.NewTVDecoder(c).Decode(spdxDoc)
	case sbom.FormatAttestCycloneDXJSON:
		return cdx, decoder.Decode(&attestation.Statement{Predicate: cyclone})
	case sbom.FormatLegacyCosignAttestCycloneDXJSON:
		return cdx, decoder.Decode(&attestation.Statement{Predicate: &attestation.CosignPredicate{Data: cyclone}})
	case sbom.FormatAttestSPDXJSON:
		return spd, decoder.Decode(&attestation.Statement{Predicate: spdxDoc})
	case sbom.FormatSigstoreBundleCycloneDXJSON:
		return cdx, decoder.Decode(&attestation.SigstoreBundle{DSSEEnvelope: attestation.Statement{Predicate: cyclone}})
	case sbom.FormatSigstoreBundleSPDXJSON:
		return spd, decoder.Decode(&attestation.SigstoreBundle{DSSEEnvelope: attestation.Statement{Predicate: spdxDoc}})
	}
	return nil, fmt.Errorf("SBOMs of format %s are not read", format)
}

// copiesFit checks how deep packages depend on each other. What takes them out
// of the SBOM goes down from an application or the distribution, each package
// once, and copies a package into the lists of all above it.
func copiesFit(bom *core.BOM) error {
	type step struct {
		to    uuid.UUID
		depth int
	}
	below, copies, seen := bom.Relationships(), 0, map[uuid.UUID]bool{}
	for id, c := range bom.Components() {
		if c.Type != core.TypeOS && c.Type != core.TypeApplication {
			continue
		}
		for open := []step{{id, 0}}; len(open) > 0; {
			s := open[len(open)-1]
			open = open[:len(open)-1]
			if seen[s.to] && s.depth > 0 {
				continue
			}
			seen[s.to] = true
			if copies += s.depth; copies > maxCopies {
				return fmt.Errorf("%w: packages that depend on each other without end", errTooLarge)
			}
			for _, r := range slices.Backward(below[s.to]) {
				open = append(open, step{r.Dependency, s.depth + 1})
			}
		}
	}
	return nil
}

// placeBitnami says where the component in dir is, and its parts, whose paths in
// the SBOM start there.
func placeBitnami(dir string, apps []ftypes.Application) {
	for i := range apps {
		if apps[i].Type == ftypes.Bitnami {
			apps[i].FilePath = dir
			continue
		}
		for j := range apps[i].Packages {
			pkg := &apps[i].Packages[j]
			pkg.FilePath = path.Join(dir, pkg.FilePath)
		}
	}
}

// addBOM notes what the SBOM at p lists.
func (l *layer) addBOM(p string, found types.SBOM) {
	for _, info := range found.Packages {
		for i := range info.Packages {
			info.Packages[i].AnalyzedBy = nameBOM
		}
		info.FilePath = path.Join(p, info.FilePath) // else two SBOMs would replace each other
		l.result.Packages = append(l.result.Packages, info)
	}
	for _, app := range found.Applications {
		for i := range app.Packages {
			pkg := &app.Packages[i]
			pkg.AnalyzedBy, pkg.Licenses = nameBOM, licensing.NormalizeLicenses(pkg.Licenses)
		}
		if app.FilePath == "" { // many languages' packages together
			app.FilePath = p
		}
		l.keep(app)
	}
}

// dropDescribed removes what was found in files that an SBOM speaks for, as far
// as Trivy looks into them after it has read the SBOMs.
func (l *layer) dropDescribed() {
	described := map[string]bool{}
	for _, app := range l.result.Applications {
		if analyzedBy(app) != nameBOM {
			continue
		}
		described[app.FilePath] = true
		for _, pkg := range app.Packages {
			described[pkg.FilePath] = true
		}
	}
	if len(described) == 0 {
		return
	}
	later := func(analyzer ftypes.AnalyzerType, p string) bool {
		switch analyzer {
		case namePython, nameJar, nameCargo, nameNuGet, nameJulia:
			return described[p]
		}
		return false
	}
	r := &l.result
	r.Applications = slices.DeleteFunc(r.Applications, func(a ftypes.Application) bool { return later(analyzedBy(a), a.FilePath) })
	r.Unidentified = slices.DeleteFunc(r.Unidentified, func(u Unidentified) bool { return described[u.Path] })
	r.Questions = slices.DeleteFunc(r.Questions, func(q Question) bool { return described[q.Path] })
	r.Problems = slices.DeleteFunc(r.Problems, func(p Problem) bool { return later(ftypes.AnalyzerType(p.Analyzer), p.Path) })
}
