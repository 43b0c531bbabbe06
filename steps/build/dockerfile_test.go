package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/imagewright/imagewright/internal/fault"
)

func dockerfileOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakesInADockerfileAreFoundBeforeTheBuild(t *testing.T) {
	for _, tc := range []struct{ name, text, target, want string }{
		{"unknown instruction", "FROM scratch\n\nCPOY a b\n", "", "app/Dockerfile:3: unknown instruction: CPOY (did you mean COPY?)"},
		{"no FROM first", "RUN true\n", "", "app/Dockerfile:1: no build stage in current context"},
		{"missing argument", "FROM scratch\nCOPY a\n", "", "app/Dockerfile:2: COPY requires at least two arguments, but only one was provided. Destination could not be determined"},
		{"unknown flag", "FROM scratch\nCOPY --form=x a b\n", "", "app/Dockerfile:2: unknown flag: --form (did you mean from?)"},
		{"empty", "# nothing\n", "", "app/Dockerfile:1: file with no instructions"},
		{"only arguments", "ARG A=1\n", "", "app/Dockerfile: it has no FROM"},
		{"heredoc without end", "FROM scratch\nRUN <<EOF\necho\n", "", "app/Dockerfile:2: unterminated heredoc"},
		{"no such stage", "FROM scratch AS one\nFROM scratch AS two\n", "three", `input target: app/Dockerfile has no stage "three"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readDockerfile(dockerfileOf(t, tc.text), "app/Dockerfile", tc.target)
			if fault.Code(err) != fault.ExitUsage {
				t.Fatalf("error %v has exit code %d, want %d", err, fault.Code(err), fault.ExitUsage)
			}
			if err.Error() != tc.want {
				t.Errorf("error %q, want %q", err, tc.want)
			}
		})
	}
}

func TestDockerfilesThatAreFine(t *testing.T) {
	for _, tc := range []struct{ name, text, target string }{
		{"byte order mark and Windows line ends", "\ufeffFROM scratch\r\nCOPY a \\\r\n  b\r\n", ""},
		{"stage names have no case", "FROM scratch AS Server\n", "server"},
		{"what only another frontend understands", "# syntax=example.org/frontend:1\nBAKE a cake\n", "any"},
	} {
		if _, err := readDockerfile(dockerfileOf(t, tc.text), "Dockerfile", tc.target); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestDeclaredArgument(t *testing.T) {
	for text, want := range map[string]bool{
		"FROM scratch\nARG SOURCE_DATE_EPOCH\n":                true,
		"ARG SOURCE_DATE_EPOCH=1\nFROM scratch\n":              true,
		"FROM scratch\nARG OTHER=SOURCE_DATE_EPOCH\n":          false,
		"FROM scratch AS a\nFROM a\nARG X SOURCE_DATE_EPOCH\n": true,
	} {
		d, err := readDockerfile(dockerfileOf(t, text), "Dockerfile", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := d.declares(epochArg); got != want {
			t.Errorf("declares SOURCE_DATE_EPOCH = %v, want %v in:\n%s", got, want, text)
		}
	}
}

func TestDockerfileTooLargeToBeOne(t *testing.T) {
	_, err := readDockerfile(dockerfileOf(t, strings.Repeat("#\n", maxDockerfileBytes/2+1)), "Dockerfile", "")
	if fault.Code(err) != fault.ExitUsage {
		t.Errorf("error %v, want a usage error", err)
	}
}

// stagesOf parses text.
func stagesOf(t *testing.T, text string) []instructions.Stage {
	t.Helper()
	d, err := readDockerfile(dockerfileOf(t, text), "Dockerfile", "")
	if err != nil {
		t.Fatal(err)
	}
	return d.Stages
}

func TestBakeFilesAreKnown(t *testing.T) {
	for file, want := range map[string]bool{
		"docker-bake.hcl": true, "deploy/docker-bake.override.json": true, "targets.HCL": true, "compose.yml": true, "docker-compose.override.yaml": true,
		"Dockerfile": false, "": false, "build.yaml": false, "compose.Dockerfile": false, "docker-bake": false,
	} {
		if got := isBakeFile(file); got != want {
			t.Errorf("isBakeFile(%q) = %v, want %v", file, got, want)
		}
	}
}
