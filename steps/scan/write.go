package scan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/report"
	"github.com/imagewright/imagewright/internal/step"
)

// trivySchema is the version of Trivy's report that is written.
const trivySchema = 2

// trivyReport is the outcome in Trivy's own type, so that what reads Trivy's
// JSON reads ours. Of several platforms the results stand one after the other,
// and each target names its platform.
func (o *outcome) trivyReport(packages bool) types.Report {
	r := o.reportHead()
	if len(o.all) == 1 {
		o.all[0].describeTo(&r.Metadata)
	}
	for _, one := range o.all {
		for _, result := range one.Results {
			if len(o.all) > 1 {
				result.Target += " (" + one.image.Platform.String() + ")"
			}
			if !packages {
				result.Packages = nil
			}
			r.Results = append(r.Results, result)
		}
	}
	return r
}

// reportOf is the report of one image, as an SBOM is made from it.
func (o *outcome) reportOf(one *inspected) types.Report {
	r := o.reportHead()
	if len(o.all) > 1 && len(r.Metadata.RepoDigests) > 0 {
		repository, _, _ := strings.Cut(r.Metadata.RepoDigests[0], "@")
		r.Metadata.RepoDigests = []string{repository + "@" + one.image.Digest.String()} // not that of the index
	}
	one.describeTo(&r.Metadata)
	for _, result := range one.Results {
		if len(result.Packages) > 0 {
			r.Results = append(r.Results, types.Result{Target: result.Target, Class: result.Class, Type: result.Type, Packages: result.Packages})
		}
	}
	return r
}

// reportHead is what a report says of all images.
func (o *outcome) reportHead() types.Report {
	r := types.Report{SchemaVersion: trivySchema, CreatedAt: o.at, ArtifactName: o.subject.name, ArtifactType: ftypes.TypeContainerImage}
	ref, err := name.ParseReference(o.subject.name)
	if err != nil || !strings.Contains(o.subject.name, ":") {
		return r
	}
	if tag, ok := ref.(name.Tag); ok {
		r.Metadata.RepoTags = []string{strings.TrimPrefix(tag.Name(), "index.")} // docker.io, as everybody else calls it
	}
	if !o.subject.madeUp {
		r.Metadata.RepoDigests = []string{ref.Context().Digest(o.subject.digest.String()).Name()}
	}
	return r
}

// document is an SBOM of one image.
type document struct {
	format string
	image  v1.Hash
}

// write writes what was found in a format that is no SBOM's.
func (o *outcome) write(w io.Writer, format string, p plan) error {
	switch format {
	case formatJSON:
		return writeJSON(w, o.trivyReport(p.listPackages))
	case formatSARIF:
		return report.WriteSARIF(w, o.tool(), o.findings)
	case formatGitLab:
		return report.WriteGitLab(w, o.gitlab(), o.findings)
	case formatCodeQuality:
		return report.WriteCodeQuality(w, o.findings)
	case formatJUnit:
		return report.WriteJUnit(w, o.tool(), o.findings)
	case formatMarkdown:
		return report.WriteMarkdown(w, o.heading(), o.findings, len(o.findings))
	case formatTable:
		return o.writeTable(w, p.shown)
	}
	return fmt.Errorf("format %q is not known", format)
}

// writeReports writes the files, all findings in each, at once: each is synced.
func (o *outcome) writeReports(p plan) error {
	var g errgroup.Group
	for _, f := range p.reports {
		g.Go(func() error {
			if isSBOM(f.format) {
				return o.writeSBOMs(f)
			}
			return writeFile(f.path, func(w io.Writer) error { return o.write(w, f.format, p) })
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// writeSBOMs writes a file for each image.
func (o *outcome) writeSBOMs(f reportFile) error {
	for _, one := range o.all {
		path := f.path
		if len(o.all) > 1 {
			path = ofPlatform(path, one.image.Platform.String())
		}
		if err := writeFile(path, func(w io.Writer) error {
			_, err := w.Write(o.documents[document{f.format, one.image.Digest}])
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (o *outcome) tool() report.Tool {
	return report.Tool{
		Name: "imagewright-scan", Version: step.Version(), URL: "https://github.com/imagewright/imagewright",
		Subject: placeOf(o.subject.name),
	}
}

func (o *outcome) gitlab() report.ContainerScan {
	scan := report.ContainerScan{Tool: o.tool(), Image: o.subject.name, Start: o.at, End: time.Now()}
	for _, one := range o.all {
		if scan.System == "" {
			scan.System = one.system()
		}
	}
	return scan
}

// forget removes what an earlier run left: should this one give up, neither its
// verdict nor its reports may stand for this run's.
func forget(files []reportFile) error {
	for _, f := range files {
		info, err := os.Lstat(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !info.Mode().IsRegular() {
			return fault.Usage(fmt.Errorf("report %s: it is there and no regular file", f.path), "name another path in reports")
		}
		if err == nil {
			err = os.Remove(f.path)
		}
		if err != nil {
			return fmt.Errorf("report of an earlier run: %w", err)
		}
	}
	return nil
}
