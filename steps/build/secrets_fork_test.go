package build

import (
	"maps"
	"net"
	"path/filepath"
	"slices"
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

func TestForksGetNoLoginOfAddresses(t *testing.T) {
	const token = "ghp_0123456789abcdef"
	in := &Inputs{What: What{Context: ".", BuildContexts: []string{"lib=https://" + token + "@example.org/acme/lib.git", "key=git@example.org:acme/key.git"}}}
	for _, tc := range []struct {
		allow  bool
		secret bool
		want   string // in the warnings
	}{{false, false, "its build gets no login"}, {true, true, ""}} {
		socket := filepath.Join(t.TempDir(), "agent")
		agent, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer agent.Close()
		s := around(checkout(t, map[string]string{"Dockerfile": "FROM scratch\n"}))
		s.fork = true
		s.getenv = func(name string) string { return map[string]string{"SSH_AUTH_SOCK": socket}[name] }
		var warnings string
		s.warn = func(text string) { warnings += text + "\n" }
		in.AllowForkSecrets = tc.allow
		p, err := newPlan(in, s)
		if err != nil {
			t.Fatal(err)
		}
		if (len(p.secrets) > 0) != tc.secret || (p.ssh != nil) != tc.secret {
			t.Errorf("allow-fork-secrets %v: %d secrets, ssh %v", tc.allow, len(p.secrets), p.ssh != nil)
		}
		if !strings.Contains(warnings, tc.want) || tc.want == "" && warnings != "" || strings.Contains(warnings, token) {
			t.Errorf("allow-fork-secrets %v: warnings are %q, want %q", tc.allow, warnings, tc.want)
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(p.hidden())), func(text []byte) bool { return string(text) == token }) {
			t.Errorf("allow-fork-secrets %v: the token is not hidden", tc.allow)
		}
	}
}
