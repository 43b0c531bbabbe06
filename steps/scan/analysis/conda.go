package analysis

import (
	"context"
	"regexp"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/conda/meta"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameConda = "conda-pkg"

// condaFile is the metadata of a package installed in a Conda environment; those
// of the base environment are not under envs, and not looked at.
var condaFile = regexp.MustCompile(`.*/envs/.+/conda-meta/.+-.+-.+\.json`)

// inConda bounds Conda's metadata, which lists all files of the package.
var inConda = bounds{size: maxManifest, depth: 100, values: 4 << 20, text: 64 << 10}

func condaMetadata(p string) bool {
	return strings.Contains(p, "/conda-meta/") && condaFile.MatchString(p) // the latter is slow
}

// condaPackage reads the metadata of a Conda package. There are no advisories
// for them: they are part of the inventory only.
func (l *layer) condaPackage(ctx context.Context, p string, c *content) error {
	if err := inConda.json(c); err != nil {
		return err
	}
	return l.application(ctx, ftypes.CondaPkg, nameConda, p, p, c, meta.NewParser())
}
