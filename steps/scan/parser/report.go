package parser

import (
	"context"
	"errors"
	"fmt"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/scan/analysis"
	"github.com/imagewright/imagewright/steps/scan/detection"
)

// report says what detail holds, and looks it up.
func (x *reader) report(ctx context.Context, img Image, detail *analysis.Detail) (*Report, error) {
	config, err := x.configSecrets(ctx, img)
	if err != nil {
		return nil, err
	}
	r := &Report{
		OS:             detection.System(detail),
		Layers:         detail.Layers,
		SystemPackages: len(detail.Packages),
		Packages:       len(detail.Packages),
		Sensitive:      detail.Sensitive,
		Removed:        detail.Removed,
		Unidentified:   detail.Unidentified,
		Problems:       detail.Problems,
	}
	for _, app := range detail.Applications {
		r.Packages += len(app.Packages)
	}
	if len(r.Problems) > 0 {
		return r, nil // there will be no verdict, and what is missing is not to be said of what is left
	}
	if err := x.find(ctx, img, detail, r); err != nil {
		return nil, err
	}
	for _, s := range append(detail.Secrets, config...) {
		found := types.Result{Target: s.FilePath, Class: types.ClassSecret}
		for _, f := range s.Findings {
			found.Secrets = append(found.Secrets, types.DetectedSecret(f))
		}
		r.Results = append(r.Results, found)
	}
	return r, CheckSize(r)
}

// Bounds of what is reported of all images that are scanned at once.
const (
	// maxFindings: each takes some 20 KB where reports are made of it. A desktop
	// that was not updated for years has 20,000.
	maxFindings = 100_000
	// maxPackages: each takes 10 KB where lists of them are made. That is twice what
	// one image may have.
	maxPackages = 200_000
)

// CheckSize refuses reports of one scan that are too large together.
func CheckSize(reports ...*Report) error {
	findings, packages := 0, 0
	for _, r := range reports {
		packages += r.Packages
		for _, result := range r.Results {
			findings += len(result.Vulnerabilities) + len(result.Secrets)
		}
	}
	if findings > maxFindings || packages > maxPackages {
		return fault.Failed(fmt.Errorf("no verdict: %d findings in %d packages; at most %d findings, and %d packages, are reported", findings, packages, maxFindings, maxPackages),
			"scan one platform, or leave out with skip-dirs and skip-files what is there many times over")
	}
	return nil
}

// find looks up the packages, or only lists them.
func (x *reader) find(ctx context.Context, img Image, detail *analysis.Detail, r *Report) (err error) {
	options := detection.Options{Name: img.Name, PkgTypes: img.PkgTypes}
	if !img.Vulnerabilities {
		r.Results, err = detection.List(ctx, detail, options)
		return err
	}
	x.mu.Lock()
	db := x.database
	x.mu.Unlock()
	if db == nil {
		return errors.New("no vulnerability database was opened")
	}
	r.Results, r.EndOfLife, err = db.Detect(ctx, detail, options)
	return err
}

// configSecrets looks into what docker inspect shows: variables, labels, history.
func (x *reader) configSecrets(ctx context.Context, img Image) ([]ftypes.Secret, error) {
	if x.secrets == nil {
		return nil, nil
	}
	found, err := x.secrets.Config(ctx, img.Config)
	if err != nil || len(found.Findings) == 0 {
		return nil, err
	}
	return []ftypes.Secret{found}, nil
}
