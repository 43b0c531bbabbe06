package analysis

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/scan/utils"
)

const nameBottlerocket = "bottlerocket-inventory"

// bottlerocketInventory lists what Bottlerocket, which has no package manager,
// is made of. That for ARM lies beside it.
const bottlerocketInventory = "x86_64-bottlerocket-linux-gnu/sys-root/usr/share/bottlerocket/application-inventory.json"

func bottlerocketFile(p string) bool {
	if own, ok := strings.CutPrefix(p, "aarch64-"); ok {
		p = "x86_64-" + own
	}
	return p == bottlerocketInventory
}

func (l *layer) bottlerocket(_ context.Context, p string, c *content) error {
	var inventory struct {
		Content []struct{ Name, Version, Release, Epoch, Architecture string }
	}
	if err := json.NewDecoder(c).Decode(&inventory); err != nil {
		return err
	}
	pkgs := make(ftypes.Packages, 0, min(len(inventory.Content), maxPackages))
	for _, app := range inventory.Content {
		if err := l.listing.addPackage(); err != nil {
			return err
		}
		pkg := ftypes.Package{Name: app.Name, Version: app.Version, Release: app.Release, Arch: app.Architecture, AnalyzedBy: nameBottlerocket}
		if app.Epoch != "" { // older releases have none
			var err error
			if pkg.Epoch, err = strconv.Atoi(app.Epoch); err != nil {
				return fmt.Errorf("package %s: epoch: %w", shorten(app.Name), err)
			}
		}
		if pkg.Name != "" && pkg.Version != "" {
			pkg.ID = pkg.Name + "@" + utils.FormatVersion(pkg)
		}
		pkgs = append(pkgs, pkg)
	}
	l.addPackages(p, pkgs)
	return nil
}
