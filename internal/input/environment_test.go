package input

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

// surrounded are inputs that environments may set, and one that they may not.
type surrounded struct {
	Env    string   `name:"env" environment:"pick" help:"Environment."`
	Args   []string `name:"args" harmless:"" environment:"append" help:"Arguments."`
	Target string   `name:"target" harmless:"" environment:"set" default:"last" help:"Stage."`
	Names  []string `name:"names" list:"csv" environment:"set" help:"Names."`
	Gate   string   `name:"gate" help:"No environment's business."`
}

// configuration is a file that has content, read for the step build.
func configuration(t *testing.T, content string) (File, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return ReadFile(dir, FileName, true, "build", []string{"build", "scan"})
}

const twoEnvironments = `version: 1
build:
  args: [A=1, B=2]
  target: server
  names: a,b
environments:
  development:
    args:
      - B=3
      - C=4
    target: debug
    names:
  production:
`

func TestTheEnvironmentPickedLiesOverTheFilesInputs(t *testing.T) {
	own := surrounded{Args: []string{"A=1", "B=2"}, Target: "server", Names: []string{"a", "b"}}
	development := surrounded{Env: "development", Args: []string{"A=1", "B=2", "B=3", "C=4"}, Target: "debug", Names: []string{"a", "b"}}
	for _, tc := range []struct {
		name string
		from Sources
		want surrounded
	}{
		{"none", Sources{}, own},
		{"by flag", Sources{Args: []string{"--env=development"}}, development},
		{"by variable", Sources{Environ: []string{"INPUT_ENV=development"}}, development},
		{"an empty one changes nothing", Sources{Args: []string{"--env=production"}}, surrounded{"production", own.Args, own.Target, own.Names, ""}},
		{"flags and variables win over it", Sources{Args: []string{"--env=development", "--args=X=1"}, Environ: []string{"IMAGEWRIGHT_BUILD_TARGET=mine"}},
			surrounded{"development", []string{"X=1"}, "mine", own.Names, ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var err error
			if tc.from.File, err = configuration(t, twoEnvironments); err != nil {
				t.Fatal(err)
			}
			tc.from.Step = "build"
			var got surrounded
			if _, err := Parse(&got, tc.from); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFileItselfMayPickAnEnvironment(t *testing.T) {
	file, err := configuration(t, "version: 1\nbuild: {env: dev}\nenvironments: {dev: {args: 'A=1'}}\n")
	if err != nil {
		t.Fatal(err)
	}
	var got surrounded
	if _, err := Parse(&got, Sources{Step: "build", File: file}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(surrounded{Env: "dev", Args: []string{"A=1"}, Target: "last"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAForksEnvironmentSetsWhatIsHarmlessAlone(t *testing.T) {
	file, err := configuration(t, "version: 1\nenvironments: {dev: {args: A=1, names: evil}}\n")
	if err != nil {
		t.Fatal(err)
	}
	var got surrounded
	values, err := Parse(&got, Sources{Step: "build", File: file, Untrusted: true, Args: []string{"--env=dev"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(surrounded{Env: "dev", Args: []string{"A=1"}, Target: "last"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []string{"imagewright.yaml: key environments.dev.names is ignored in a run for a fork"}
	if diff := cmp.Diff(want, values.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestBadEnvironmentsAreUsageErrorsThatHelp(t *testing.T) {
	for _, tc := range []struct {
		name, content, env string
		want               string
	}{
		{"unknown", twoEnvironments, "staging", `environment "staging" is not in imagewright.yaml; want "development" or "production"`},
		{"no environments", "version: 1\n", "dev", `environment "dev": there are no environments in imagewright.yaml`},
		{"an input that none may set", "version: 1\nenvironments: {dev: {gate: off}}\n", "", "key environments.dev.gate: an environment sets args, names or target, nothing else"},
		{"an unknown input", "version: 1\nenvironments: {dev: {tagret: x}}\n", "", "key environments.dev.tagret: an environment sets args, names or target"},
		{"the pick itself", "version: 1\nenvironments: {dev: {env: prod}}\n", "", "key environments.dev.env"},
		{"no map of environments", "version: 1\nenvironments: [dev]\n", "", "key environments holds no environments"},
		{"no inputs in one", "version: 1\nenvironments: {dev: [A=1]}\n", "", "key environments.dev holds no inputs"},
		{"a map for a list", "version: 1\nbuild: {args: A=1}\nenvironments: {dev: {args: {A: 1}}}\n", "dev", "input args"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := configuration(t, tc.content)
			if err == nil {
				_, err = Parse(&surrounded{}, Sources{Step: "build", File: file, Environ: []string{"INPUT_ENV=" + tc.env}})
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || fault.Code(err) != fault.ExitUsage {
				t.Errorf("error %v, want a usage error with %q", err, tc.want)
			}
		})
	}
}

func TestStepsThatPickNoEnvironmentDoNotMindThem(t *testing.T) {
	file, err := configuration(t, "version: 1\nenvironments: {dev: {target: debug}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(&inputs{}, Sources{Step: "scan", File: file}); err != nil {
		t.Errorf("a step of other inputs says: %v", err)
	}
}
