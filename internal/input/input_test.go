package input

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

// inputs has one field of each kind.
type inputs struct {
	Gate     string        `name:"scan-gate" enum:"require,warn,off" default:"require" help:"What to do without a verdict."`
	Images   []string      `name:"images" help:"Repositories, one a line."`
	Records  []string      `name:"cache-from" list:"csv" help:"Caches to read."`
	Jobs     int           `name:"jobs" harmless:"" default:"4" help:"Blobs at once."`
	Timeout  time.Duration `name:"timeout" default:"10m" help:"Give up after this long."`
	Frozen   bool          `name:"immutable" default:"true" negatable:"" help:"Refuse to move a version tag."`
	Password string        `name:"password" secret:"" help:"Password of the registry."`
}

// in is a configuration file that has values for the step.
func in(values map[string]any) File { return File{Name: FileName, Inputs: values} }

func TestTheStrongestSourceWins(t *testing.T) {
	file := in(map[string]any{"scan-gate": "warn", "jobs": uint64(7)})
	for _, tc := range []struct {
		name string
		from Sources
		want string
	}{
		{"default", Sources{}, "require"},
		{"file over default", Sources{File: file}, "warn"},
		{"plugin over file", Sources{File: file, Environ: []string{"PLUGIN_SCAN_GATE=off"}}, "off"},
		{"action over plugin", Sources{Environ: []string{"PLUGIN_SCAN_GATE=off", "INPUT_SCAN-GATE=warn"}}, "warn"},
		{"action with underscores", Sources{Environ: []string{"PLUGIN_SCAN_GATE=off", "INPUT_SCAN_GATE=warn"}}, "warn"},
		{"own name over action", Sources{Environ: []string{"IMAGEWRIGHT_PUSH_SCAN_GATE=off", "INPUT_SCAN-GATE=warn"}}, "off"},
		{"flag over all", Sources{Args: []string{"--scan-gate=require"}, Environ: []string{"IMAGEWRIGHT_PUSH_SCAN_GATE=off"}, File: file}, "require"},
		{"an empty variable is unset", Sources{Environ: []string{"IMAGEWRIGHT_PUSH_SCAN_GATE="}, File: file}, "warn"},
		{"a fork's file decides no gate", Sources{File: file, Untrusted: true}, "require"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var in inputs
			tc.from.Step = "push"
			if _, err := Parse(&in, tc.from); err != nil {
				t.Fatal(err)
			}
			if in.Gate != tc.want {
				t.Errorf("scan-gate is %q, want %q", in.Gate, tc.want)
			}
		})
	}
}

func TestAForkMaySetWhatIsHarmlessAndNothingElse(t *testing.T) {
	var got inputs
	v, err := Parse(&got, Sources{Step: "push", Untrusted: true, File: in(map[string]any{"jobs": uint64(7), "images": "evil.example.com/x"})})
	if err != nil {
		t.Fatal(err)
	}
	if got.Jobs != 7 || len(got.Images) != 0 {
		t.Errorf("jobs are %d and images %q, want 7 and none", got.Jobs, got.Images)
	}
	if diff := cmp.Diff([]string{"imagewright.yaml: key push.images is ignored in a run for a fork"}, v.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestEveryKindIsReadFromEverySource(t *testing.T) {
	want := inputs{"warn", []string{"a", "b,c"}, []string{"type=local,src=x", "y"}, 9, 30 * 24 * time.Hour, false, ""}
	for _, tc := range []struct {
		name string
		from Sources
	}{
		{"flags", Sources{Args: []string{"--scan-gate=warn", "--images=a", "--images", "b,c", `--cache-from="type=local,src=x",y`, "--jobs=9", "--timeout=30d", "--no-immutable"}}},
		{"environment", Sources{Environ: []string{"IMAGEWRIGHT_PUSH_SCAN_GATE=warn", "IMAGEWRIGHT_PUSH_IMAGES=a\n\n b,c \n", "INPUT_CACHE-FROM=\"type=local,src=x\"\ny", "PLUGIN_JOBS=9", "PLUGIN_TIMEOUT=720h", "INPUT_IMMUTABLE=false"}}},
		{"arrays in the environment", Sources{Environ: []string{"INPUT_SCAN_GATE=warn", `INPUT_IMAGES=["a","b,c"]`, `INPUT_CACHE_FROM=json:["type=local,src=x","y"]`, "INPUT_JOBS=9", "INPUT_TIMEOUT=30d", "INPUT_IMMUTABLE=no"}}},
		{"file", Sources{File: in(map[string]any{"scan-gate": "warn", "images": []any{"a", "b,c"}, "cache-from": "\"type=local,src=x\"\ny", "jobs": uint64(9), "timeout": "30d", "immutable": false})}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got inputs
			tc.from.Step = "push"
			if _, err := Parse(&got, tc.from); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnEmptyFlagOrFileValueMeansEmpty(t *testing.T) {
	for _, from := range []Sources{
		{Args: []string{"--images="}, Environ: []string{"INPUT_IMAGES=a"}},
		{File: in(map[string]any{"images": ""})},
	} {
		var in inputs
		from.Step = "push"
		if _, err := Parse(&in, from); err != nil {
			t.Fatal(err)
		}
		if len(in.Images) != 0 {
			t.Errorf("images is %q, want none", in.Images)
		}
	}
}

func TestBadInputIsAUsageErrorThatHelps(t *testing.T) {
	for _, tc := range []struct {
		name string
		from Sources
		want []string // parts of the message
	}{
		{"choice", Sources{Args: []string{"--scan-gate=maybe"}}, []string{`input scan-gate: "maybe" is not accepted; want require, warn or off`}},
		{"choice in the environment", Sources{Environ: []string{"INPUT_SCAN-GATE=maybe"}}, []string{`input scan-gate: "maybe"`, "require, warn or off"}},
		{"choice in the file", Sources{File: in(map[string]any{"scan-gate": "maybe"})}, []string{`input scan-gate: "maybe"`}},
		{"number", Sources{Args: []string{"--jobs=many"}}, []string{`input jobs: "many"`, "whole number"}},
		{"negative number", Sources{Args: []string{"--jobs=-1"}}, []string{`input jobs: "-1"`}},
		{"duration", Sources{Environ: []string{"PLUGIN_TIMEOUT=soon"}}, []string{`input timeout: "soon"`, "30d"}},
		{"truth", Sources{Args: []string{"--immutable=perhaps"}}, []string{`input immutable: "perhaps"`, "true or false"}},
		{"array", Sources{Environ: []string{`INPUT_IMAGES=["a"`}}, []string{"input images", "JSON array"}},
		{"map for a value", Sources{File: in(map[string]any{"jobs": map[string]any{"x": 1}})}, []string{"input jobs", "not a map"}},
		{"unknown flag", Sources{Args: []string{"--scan-gat=off"}}, []string{`unknown input "scan-gat"`, "did you mean scan-gate?"}},
		{"unknown variable", Sources{Environ: []string{"IMAGEWRIGHT_PUSH_IMAGE=x"}}, []string{`"IMAGEWRIGHT_PUSH_IMAGE"`, "did you mean IMAGEWRIGHT_PUSH_IMAGES?"}},
		{"unknown key", Sources{File: in(map[string]any{"time-out": "1m"})}, []string{`"push.time-out"`, "did you mean timeout?"}},
		{"nothing near", Sources{Args: []string{"--zzzzzzzzzz"}}, []string{`unknown input "zzzzzzzzzz"`, "--help"}},
		{"secret on the command line", Sources{Args: []string{"--password=hunter2"}}, []string{"input password", "IMAGEWRIGHT_PUSH_PASSWORD"}},
		{"secret in the file", Sources{File: in(map[string]any{"password": "hunter2"})}, []string{"push.password", "IMAGEWRIGHT_PUSH_PASSWORD"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.from.Step = "push"
			_, err := Parse(&inputs{}, tc.from)
			if err == nil {
				t.Fatal("accepted")
			}
			if fault.Code(err) != fault.ExitUsage {
				t.Errorf("exit code %d, want %d", fault.Code(err), fault.ExitUsage)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q says nothing of %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q shows the secret", err)
			}
		})
	}
}

func TestUnknownActionVariablesAreWarnings(t *testing.T) {
	v, err := Parse(&inputs{}, Sources{Step: "push", Environ: []string{"INPUT_WHO-TO-GREET=x", "PLUGIN_FOO=y", "INPUT_EMPTY="}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"variable INPUT_WHO-TO-GREET sets no input of push", "variable PLUGIN_FOO sets no input of push"}
	if diff := cmp.Diff(want, v.Warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretsAreKnownEvenWhenTheRestIsBad(t *testing.T) {
	v, err := Parse(&inputs{}, Sources{Step: "push", Args: []string{"--jobs=x"}, Environ: []string{"INPUT_PASSWORD=hunter2"}})
	if err == nil {
		t.Fatal("accepted")
	}
	if !slices.Contains(v.Secrets, "hunter2") {
		t.Errorf("secrets are %q: the value would be printed unmasked", v.Secrets)
	}
}

func TestReadFile(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          map[string]any
		fails         string
	}{
		{"inputs of the step", "version: 1\npush:\n  jobs: 2\n", map[string]any{"jobs": uint64(2)}, ""},
		{"no key of the step", "version: 1\nscan: {}\n", nil, ""},
		{"unknown key", "version: 1\npsuh: {}\n", nil, `unknown key "psuh"`},
		{"unknown version", "version: 2\n", nil, `version "2" is not known`},
		{"no version", "push: {}\n", nil, "is not known"},
		{"no map", "version: 1\npush: [a]\n", nil, "key push holds no inputs"},
		{"no YAML", "version: 1\n\tpush:", nil, "imagewright.yaml"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, FileName), []byte(tc.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(dir, FileName, false, "push", []string{"push", "scan"})
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) || fault.Code(err) != fault.ExitUsage {
					t.Errorf("error %v, want a usage error with %q", err, tc.fails)
				}
				return
			}
			if err != nil || !maps.Equal(got.Inputs, tc.want) {
				t.Errorf("got %v, %v; want %v", got.Inputs, err, tc.want)
			}
		})
	}
	if _, err := ReadFile(t.TempDir(), "none", true, "push", nil); fault.Code(err) != fault.ExitUsage {
		t.Errorf("a named file that is missing: %v, want a usage error", err)
	}
}

// Twelve lines of aliases stand for a terabyte of text.
func TestABombOfAliasesIsNeverPrinted(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "  a%d: &a%d [%s]\n", i+1, i+1, strings.Join(slices.Repeat([]string{fmt.Sprintf("*a%d", i)}, 10), ", "))
	}
	for name, text := range map[string]string{
		"an input":    "version: 1\npush:\n  images: [*a12]\n",
		"the version": "version: *a12\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte("scan:\n  "+bomb.String()+text), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := ReadFile(dir, FileName, true, "push", []string{"push", "scan"})
		if err == nil {
			_, err = Parse(&inputs{}, Sources{Step: "push", File: file})
		}
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: error %.100v; want a short one", name, err)
		}
	}
}
