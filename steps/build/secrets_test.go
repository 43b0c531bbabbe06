package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestSecretsComeFromInputsVariablesAndFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "npmrc"), []byte("token=abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := secretValues(Mounts{
		Secrets:     "TOKEN=a=b,c\n\"KEY=line 1\nline 2\"",
		SecretEnvs:  []string{"env=FROM_ENV"},
		SecretFiles: []string{"npmrc=npmrc"},
	}, secretSources{
		getenv: func(name string) string { return map[string]string{"FROM_ENV": "value"}[name] },
		abs:    func(path string) string { return filepath.Join(dir, path) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"TOKEN": []byte("a=b,c"), "KEY": []byte("line 1\nline 2"), "env": []byte("value"), "npmrc": []byte("token=abc\n")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
}

func TestBadSecretIsAUsageErrorThatNeverShowsIt(t *testing.T) {
	const canary = "c4n4ry"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, maxSecretBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		in   Mounts
		want string
	}{
		{"no equals sign", Mounts{Secrets: canary}, "entry 1 is not ID=VALUE"},
		{"value of several lines without quotes", Mounts{Secrets: "KEY=-----BEGIN PRIVATE KEY-----\n" + canary + "==\n"}, "only the first line of a key"},
		{"quote not closed", Mounts{Secrets: `"KEY=` + canary}, "not closed"},
		{"id that is no name", Mounts{Secrets: canary + " and=more"}, "entry 1 is not ID=VALUE"},
		{"bad JSON", Mounts{Secrets: `["KEY=` + canary}, "not a JSON array"},
		{"empty", Mounts{Secrets: "KEY="}, `secret "KEY" is empty`},
		{"twice", Mounts{Secrets: "KEY=" + canary + "\nKEY=" + canary}, "given twice"},
		{"value in secret-envs", Mounts{SecretEnvs: []string{canary}}, "not ID=VARIABLE"},
		{"unset variable", Mounts{SecretEnvs: []string{"KEY=UNSET"}}, `secret "KEY" is empty`},
		{"value in secret-files", Mounts{SecretFiles: []string{canary}}, "not ID=PATH"},
		{"no such file", Mounts{SecretFiles: []string{"KEY=nowhere"}}, "no such file"},
		{"too large", Mounts{SecretFiles: []string{"KEY=large"}}, "at most 512000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := secretValues(tc.in, secretSources{
				getenv: func(string) string { return "" },
				abs:    func(path string) string { return filepath.Join(dir, path) },
			})
			if fault.Code(err) != fault.ExitUsage {
				t.Fatalf("error %v has exit code %d, want %d", err, fault.Code(err), fault.ExitUsage)
			}
			shown := err.Error() + fault.Hint(err)
			if !strings.Contains(shown, tc.want) {
				t.Errorf("error %q does not say %q", shown, tc.want)
			}
			if strings.Contains(shown, canary) {
				t.Errorf("error shows the value: %q", shown)
			}
		})
	}
}
