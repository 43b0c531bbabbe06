package analysis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameRpmManifest = "rpmqa"

// rpmManifest is what stands in for a database of rpm in distroless images of
// CBL-Mariner and Azure Linux.
const rpmManifest = "var/lib/rpmmanifest/container-manifest-2"

// rpmManifest reads lines of name, version-release, times of installation and
// build, vendor, "(none)", size, architecture, epoch and source package, with
// tabs between.
func (l *layer) rpmManifest(_ context.Context, p string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	pkgs, err := rpmManifestPackages(string(data), &l.listing)
	l.addPackages(p, pkgs)
	return err
}

func rpmManifestPackages(text string, listed *listing) (ftypes.Packages, error) {
	var pkgs ftypes.Packages
	for line := range strings.Lines(text) {
		pkg, err := rpmManifestPackage(strings.TrimRight(line, "\r\n"))
		if err != nil {
			return pkgs, fmt.Errorf("line %q: %w", shorten(line[:min(len(line), maxReason)]), err)
		}
		if err := listed.addPackage(); err != nil {
			return pkgs, err
		}
		pkgs = append(pkgs, pkg)
	}
	return pkgs, nil
}

func rpmManifestPackage(line string) (ftypes.Package, error) {
	fields := strings.SplitN(line, "\t", 11)
	if len(fields) != 10 {
		return ftypes.Package{}, fmt.Errorf("%d fields; want 10", len(fields))
	}
	version, release, ok := strings.Cut(fields[1], "-")
	if !ok || strings.Contains(release, "-") {
		return ftypes.Package{}, fmt.Errorf("%q is not a version and a release", fields[1])
	}
	srcName, srcVersion, srcRelease, ok := splitRpmName(fields[9])
	if !ok {
		return ftypes.Package{}, fmt.Errorf("%q is not the name of a source package", fields[9])
	}
	epoch, err := strconv.Atoi(fields[8])
	if err != nil {
		return ftypes.Package{}, fmt.Errorf("epoch: %w", err)
	}
	return ftypes.Package{
		Name: fields[0], Version: version, Release: release, Epoch: epoch, Arch: fields[7],
		SrcName: srcName, SrcVersion: srcVersion, SrcRelease: srcRelease, SrcEpoch: epoch,
		AnalyzedBy: nameRpmManifest,
	}, nil
}
