package analysis

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	juliaManifest = `julia_version = "1.9.0"
manifest_format = "2.0"

[[deps.AbstractAlgebra]]
deps = ["Dates", "Random"]
uuid = "c3fe647b-3220-5bb0-a1ea-a7954cac585d"
version = "0.27.10"

[[deps.Dates]]
uuid = "ade2ca70-3891-5945-98fb-dc099432e06a"

[[deps.Random]]
uuid = "9a3f8284-a2c9-5f02-9a11-845980a1fd5c"

[[deps.Test]]
deps = ["Random"]
uuid = "8dfed614-e22c-5e08-85e1-65c5234f0b40"
`
	juliaProjectFile = `name = "App"
[deps]
AbstractAlgebra = "c3fe647b-3220-5bb0-a1ea-a7954cac585d"
[extras]
Test = "8dfed614-e22c-5e08-85e1-65c5234f0b40"
`
)

func TestProjectTomlSaysWhatOfAManifestCounts(t *testing.T) {
	manifest := file{path: "a/Manifest.toml", content: juliaManifest}
	const dates, random = "ade2ca70-3891-5945-98fb-dc099432e06a", "9a3f8284-a2c9-5f02-9a11-845980a1fd5c"
	for _, tc := range []struct {
		name  string
		files []file
		want  []string
	}{
		{"what it asks for, but for tests", []file{manifest, {path: "a/Project.toml", content: juliaProjectFile}}, []string{
			"AbstractAlgebra@0.27.10 direct: " + random + " " + dates, "Dates@1.9.0 indirect: ", "Random@1.9.0 indirect: ",
		}},
		{"without one, nothing", []file{manifest, {path: "Project.toml", content: juliaProjectFile}}, nil},
		{"with a broken one, all", []file{{path: "a/Project.toml", content: "[deps"}, manifest}, []string{
			"AbstractAlgebra@0.27.10 unknown: " + random + " " + dates, "Dates@1.9.0 unknown: ", "Random@1.9.0 unknown: ", "Test@1.9.0 unknown: " + random,
		}},
		{"with one too large, all", []file{{path: "a/Project.toml", content: juliaProjectFile + "#" + strings.Repeat("x", 1<<20)}, manifest}, []string{
			"AbstractAlgebra@0.27.10 unknown: " + random + " " + dates, "Dates@1.9.0 unknown: ", "Random@1.9.0 unknown: ", "Test@1.9.0 unknown: " + random,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, relations(t, analysed(t, Options{}, tc.files...))); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}
