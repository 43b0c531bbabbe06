package analysis

import (
	"errors"
	"path"
	"strings"
)

const nameRpm = "rpm"

var errRpm = errors.New("rpm package databases are not read yet: the packages in it are unknown")

// rpmFile reports whether the file at p is a database of rpm, in any of its
// formats, or what stands in for one in distroless Mariner.
func rpmFile(p string) bool {
	dir, base := path.Split(p)
	switch strings.TrimSuffix(dir, "/") {
	case "var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm":
		return base == "Packages" || base == "Packages.db" || base == "rpmdb.sqlite"
	}
	return p == "var/lib/rpmmanifest/container-manifest-2"
}
