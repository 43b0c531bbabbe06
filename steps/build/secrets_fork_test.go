package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestForksGetNoSecrets(t *testing.T) {
	m := Mounts{
		Secrets:    "TOKEN=s3cr3t\nNONE=\nKEY=-----BEGIN KEY-----\nczNjcjN0==\n\"two=s3cr3t\nlines\"",
		SecretEnvs: []string{"env=S3CR3T"}, SecretFiles: []string{"file=/s3cr3t"}, SSH: []string{"default=/s3cr3t", "s3cr3t key"}, GitHubToken: "s3cr3t",
	}
	left, warning := m.forFork()
	if diff := cmp.Diff(Mounts{}, left); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
	if want := `left out of its build are "TOKEN", "KEY", "two", "env", "file", ssh "default", github-token (`; !strings.Contains(warning, want) {
		t.Errorf("warning %q, want %s", warning, want)
	}
	if strings.Contains(strings.ToLower(warning), "s3cr3t") || strings.Contains(warning, "czNjcjN0") {
		t.Errorf("the warning shows a secret: %q", warning)
	}
	if _, warning := (Mounts{Secrets: "NONE="}).forFork(); warning != "" {
		t.Errorf("warning %q for nothing", warning)
	}
	m.AllowForkSecrets = true
	if left, warning := m.forFork(); warning != "" || !cmp.Equal(m, left) {
		t.Errorf("with allow-fork-secrets: %+v and %q, want all and no warning", left, warning)
	}
}
