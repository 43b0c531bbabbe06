package analysis

import (
	"maps"
	"strconv"

	"github.com/BurntSushi/toml"
	"github.com/aquasecurity/trivy/pkg/dependency"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/mitchellh/hashstructure/v2"
)

// cargoManifest is what counts in a Cargo.toml.
//
// Format: https://doc.rust-lang.org/cargo/reference/manifest.html
type cargoManifest struct {
	Package struct {
		Name    string `toml:"name"`
		Version any    `toml:"version"`
	} `toml:"package"`
	Dependencies map[string]any                       `toml:"dependencies"`
	Target       map[string]map[string]map[string]any `toml:"target"`
	Workspace    struct {
		Dependencies map[string]any `toml:"dependencies"`
		Members      []string       `toml:"members"`
		Package      struct {
			Version string `toml:"version"`
		} `toml:"package"`
	} `toml:"workspace"`
}

func newCargoManifest(data []byte) (cargoManifest, error) {
	var m cargoManifest
	if err := inCargoManifest.checkTOML(data); err != nil {
		return m, err
	}
	err := toml.Unmarshal(data, &m)
	return m, err
}

// dependencies returns what the package and its workspace depend on.
func (m cargoManifest) dependencies() map[string]any {
	all := map[string]any{}
	maps.Copy(all, m.Dependencies)
	for _, of := range m.Target {
		maps.Copy(all, of["dependencies"])
	}
	maps.Copy(all, m.Workspace.Dependencies)
	return all
}

// id returns the ID of the package. workspace is the version that a member can
// inherit; if empty, that of its own workspace.
func (m cargoManifest) id(workspace string) string {
	if workspace == "" {
		workspace = m.Workspace.Package.Version
	}
	if m.Package.Name == "" {
		return m.hash()
	}
	var own string
	switch v := m.Package.Version.(type) {
	case nil:
		own = workspace
	case string:
		own = v
	case map[string]any:
		if inherit, ok := v["workspace"].(bool); ok && inherit {
			own = workspace
		}
	}
	return dependency.ID(ftypes.Cargo, m.Package.Name, own)
}

// hash stands in for the ID where there is no package, and is the one Trivy
// makes up: the names of types and fields are part of it.
func (m cargoManifest) hash() string {
	type Package struct {
		Name    string
		Version any
	}
	type Dependencies map[string]any
	type cargoTomlWorkspace struct {
		Dependencies Dependencies
		Members      []string
		Package      struct{ Version string }
	}
	type cargoToml struct {
		Package      Package
		Dependencies Dependencies
		Target       map[string]map[string]Dependencies
		Workspace    cargoTomlWorkspace
	}
	t := cargoToml{
		Package:      Package(m.Package),
		Dependencies: m.Dependencies,
		Workspace:    cargoTomlWorkspace{Dependencies: m.Workspace.Dependencies, Members: m.Workspace.Members},
	}
	t.Workspace.Package.Version = m.Workspace.Package.Version
	if m.Target != nil {
		t.Target = map[string]map[string]Dependencies{}
		for name, of := range m.Target {
			t.Target[name] = map[string]Dependencies{}
			for kind, d := range of {
				t.Target[name][kind] = d
			}
		}
	}
	sum, err := hashstructure.Hash(t, hashstructure.FormatV2, &hashstructure.HashOptions{ZeroNil: true, IgnoreZeroValue: true})
	if err != nil { // kinds of values that TOML does not have
		return ""
	}
	return strconv.FormatUint(sum, 16)
}
