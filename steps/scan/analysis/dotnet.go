//go:build goexperiment.jsonv2

package analysis

import (
	"context"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/dotnet/core_deps"
	"github.com/aquasecurity/trivy/pkg/dependency/parser/nuget/config"
	"github.com/aquasecurity/trivy/pkg/dependency/parser/nuget/lock"
	"github.com/aquasecurity/trivy/pkg/dependency/parser/nuget/packagesprops"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const (
	nameDotNet = "dotnet-core"
	nameNuGet  = "nuget"
	nameProps  = "packages-props"
)

var (
	// inDeps bounds the .deps.json beside a program: all libraries, with the
	// files of each. Each library is compared with each that the program asks for.
	inDeps = bounds{size: maxManifest, depth: 100, values: 200_000, text: 64 << 10}
	// inNuGetLock bounds a packages.lock.json. A version in it is copied for
	// each package that asks for it.
	inNuGetLock = bounds{size: maxManifest, depth: 100, values: 200_000, text: 1 << 10}
	// inNuGetXML bounds a packages.config, or central package versions.
	inNuGetXML = bounds{size: 4 << 20, values: 100_000}
)

func (l *layer) dotnetDeps(ctx context.Context, p string, c *content) error {
	if err := inDeps.json(c); err != nil {
		return err
	}
	return l.application(ctx, ftypes.DotNetCore, nameDotNet, p, "", c, core_deps.NewParser())
}

func (l *layer) nugetLock(ctx context.Context, p string, c *content) error {
	if err := inNuGetLock.json(c); err != nil {
		return err
	}
	return l.application(ctx, ftypes.NuGet, nameNuGet, p, "", c, lock.NewParser())
}

func (l *layer) nugetConfig(ctx context.Context, p string, c *content) error {
	if err := inNuGetXML.xml(c); err != nil {
		return err
	}
	return l.application(ctx, ftypes.NuGet, nameNuGet, p, "", c, config.NewParser())
}

func (l *layer) packagesProps(ctx context.Context, p string, c *content) error {
	if err := inNuGetXML.xml(c); err != nil {
		return err
	}
	return l.application(ctx, ftypes.PackagesProps, nameProps, p, "", c, packagesprops.NewParser())
}
