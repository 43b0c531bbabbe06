package build

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretLeavesNoTrace(t *testing.T) {
	const first, second = "c4n4ry-one", "c4n4ry-two"
	dir := checkout(t, map[string]string{"Dockerfile": `FROM base
RUN --mount=type=secret,id=token cat /run/secrets/token && test "$(cat /run/secrets/token | wc -l)" = 1
RUN --mount=type=secret,id=token,env=TOKEN echo "$TOKEN"; test -n "$TOKEN"
RUN --mount=type=secret,id=file cat /run/secrets/file
RUN test ! -s /run/secrets/token
`, "secret.txt": second})
	if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("secret.txt\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	o := run{dir: dir, state: state, args: []string{useBase(t), "--secret-files=file=secret.txt"},
		environ: []string{"IMAGEWRIGHT_BUILD_SECRETS=\"token=" + first + "\nmore\""}}.mustBuild(t)
	if !strings.Contains(o.stderr, "***") {
		t.Errorf("the log does not show the step's output:\n%s", o.stderr)
	}
	if strings.Contains(o.stdout+o.stderr, "c4n4ry") {
		t.Errorf("the log shows a secret:\n%s", o.stderr)
	}
	for _, place := range []string{filepath.Join(dir, ".imagewright"), state} {
		err := filepath.Walk(place, func(path string, info os.FileInfo, err error) error {
			if err != nil || !info.Mode().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("c4n4ry")) {
				t.Errorf("%s holds a secret", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range layerFiles(t, built(t, dir)) {
		if strings.Contains(text, "c4n4ry") {
			t.Error("a layer holds a secret")
		}
	}
}
