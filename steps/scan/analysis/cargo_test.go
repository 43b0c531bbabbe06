package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const cargoLock = `version = 3

[[package]]
name = "app"
version = "0.1.0"
dependencies = [
 "criterion",
 "regex",
 "util",
]

[[package]]
name = "criterion"
version = "0.5.1"
dependencies = [
 "memchr 2.5.0",
]

[[package]]
name = "memchr"
version = "1.0.2"

[[package]]
name = "memchr"
version = "2.5.0"

[[package]]
name = "regex"
version = "1.5.4"
source = "registry+https://github.com/rust-lang/crates.io-index"
dependencies = [
 "memchr 1.0.2",
]

[[package]]
name = "util"
version = "0.1.0"
dependencies = [
 "winapi",
]

[[package]]
name = "winapi"
version = "0.3.9"
`

// relations lists the packages of the one application of a result as
// "name@version relationship: what it depends on".
func relations(t *testing.T, r *Result) []string {
	t.Helper()
	if len(r.Applications) != 1 || len(r.Problems) > 0 {
		t.Fatalf("applications %v, problems %v; want one application", found(r), r.Problems)
	}
	var list []string
	for _, p := range r.Applications[0].Packages {
		list = append(list, fmt.Sprintf("%s@%s %s: %s", p.Name, p.Version, p.Relationship, strings.Join(p.DependsOn, " ")))
	}
	slices.Sort(list)
	return list
}

func TestCargoTomlSaysWhatOfALockFileIsBuilt(t *testing.T) {
	lock := file{path: "app/Cargo.lock", content: cargoLock}
	for _, tc := range []struct {
		name  string
		files []file
		want  []string
	}{
		{"without one, all", []file{lock}, []string{
			"app@0.1.0 unknown: criterion@0.5.1 regex@1.5.4 util@0.1.0", "criterion@0.5.1 unknown: memchr@2.5.0", "memchr@1.0.2 unknown: ",
			"memchr@2.5.0 unknown: ", "regex@1.5.4 unknown: memchr@1.0.2", "util@0.1.0 unknown: winapi@0.3.9", "winapi@0.3.9 unknown: ",
		}},
		{"what tests alone need is not", []file{lock, {path: "app/Cargo.toml", content: `
[package]
name = "app"
version = "0.1.0"
[dependencies]
regex = "1.5"
[dev-dependencies]
criterion = "0.5"
[target.'cfg(windows)'.dependencies]
winapi = { version = "0.3", features = ["winbase"] }
`}}, []string{
			"app@0.1.0 root: regex@1.5.4", "memchr@1.0.2 indirect: ", "regex@1.5.4 direct: memchr@1.0.2", "winapi@0.3.9 direct: ",
		}},
		{"a constraint chooses between versions", []file{lock, {path: "app/Cargo.toml", content: `
package = { name = "app", version = "0.1.0" }
dependencies = { memchr = "2" }
`}}, []string{"app@0.1.0 root: ", "memchr@2.5.0 direct: "}},
		{"members of a workspace count, by pattern too", []file{
			{path: "app/Cargo.toml", content: "[workspace]\nmembers = [\"crates/*\", \"app\", \"gone\"]\n[workspace.package]\nversion = \"0.1.0\"\n"},
			{path: "app/crates/util/Cargo.toml", content: "[package]\nname = \"util\"\nversion.workspace = true\n[dependencies]\nwinapi = \"0.3\"\n"},
			{path: "app/app/Cargo.toml", content: "[package]\nname = \"app\"\n[dependencies]\nregex = \"1\"\n"},
			lock,
		}, []string{
			"@ root: util@0.1.0 app@0.1.0", "app@0.1.0 workspace: regex@1.5.4 util@0.1.0", "memchr@1.0.2 indirect: ", "regex@1.5.4 direct: memchr@1.0.2",
			"util@0.1.0 workspace: winapi@0.3.9", "winapi@0.3.9 direct: ",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, relations(t, analysed(t, Options{}, tc.files...))); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

// Then nobody knows what is for tests only.
func TestABrokenCargoTomlHidesNothing(t *testing.T) {
	for name, content := range map[string]string{
		"no TOML":      "[dependencies",
		"another kind": "package = { name = 1 }\n",
		"without end":  "a = " + strings.Repeat("{a = ", 100),
		"too large":    "[package]\nname = \"app\"\n#" + strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			r := analysed(t, Options{}, file{path: "Cargo.toml", content: content}, file{path: "Cargo.lock", content: cargoLock})
			if got := relations(t, r); len(got) != 7 {
				t.Errorf("packages %v; want all 7 of the lock file", got)
			}
		})
	}
}

// The ID of a workspace without a package is one that Trivy makes up of all the
// file says; this one is Trivy's answer.
func TestAWorkspaceHasTheIDThatTrivyGivesIt(t *testing.T) {
	m, err := newCargoManifest([]byte("[workspace]\nmembers = [\"a\"]\n[target.x.dependencies]\nb = \"1\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.id(""), "fdb0f7873aed07ca"; got != want {
		t.Errorf("ID %s, want %s", got, want)
	}
}

func TestPatternsOfMembersEndWithTheirBudget(t *testing.T) {
	f := cargoFiles{manifests: map[string][]byte{"Cargo.toml": []byte("workspace = { members = [\"*\"] }\n")}}
	for i := range 1000 {
		f.manifests[fmt.Sprintf("m%d/Cargo.toml", i)] = []byte("[package]\nname = \"m\"\n")
	}
	f.work = 100_000
	if p, ok := f.project("."); !ok || len(p.members) != 1000 {
		t.Errorf("%d members; want 1000", len(p.members))
	}
	if _, ok := f.project("."); ok {
		t.Error("the second project was read too, with no work left to do")
	}
}
