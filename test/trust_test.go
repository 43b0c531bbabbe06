package test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Node has its authorities built in, and reads a file of more where a variable
// names one.
func TestNodeInAStepTrustsTheBundleAndTheDigestIsTheSame(t *testing.T) {
	company := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	company.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not trust it hangs up
	company.StartTLS()
	t.Cleanup(company.Close)
	bundle := filepath.Join(t.TempDir(), "company.pem")
	check(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: company.Certificate().Raw}), 0o600))

	s := newRemoteWorld(t).copied(t)
	copyProgram(t, "node", filepath.Join(s.dir, "root"))
	check(t, os.WriteFile(filepath.Join(s.dir, "Dockerfile"), []byte(`FROM base AS program
COPY root/ /
FROM program AS made
RUN node -e 'require("https").get(process.argv[1], r => console.log("node says", r.resume().statusCode)).on("error", e => console.log("node says", e.code))' `+company.URL+`
`), 0o644))

	digest := ""
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"with the bundle", []string{"--ca-bundle=" + bundle}, "node says 200"},
		{"without it", nil, "node says DEPTH_ZERO_SELF_SIGNED_CERT"},
		{"not in steps", []string{"--ca-bundle=" + bundle, "--no-ca-in-steps"}, "node says DEPTH_ZERO_SELF_SIGNED_CERT"},
	} {
		code, said := s.run("build", append(tc.args, "--builder=embedded", "--no-cache-filters=made")...)
		if code != 0 || !strings.Contains(said, tc.want) {
			t.Fatalf("%s: exit %d; want 0 and %q:\n%s", tc.name, code, tc.want, said)
		}
		if digest == "" {
			digest = s.builtDigest()
		}
		if got := s.builtDigest(); got != digest {
			t.Errorf("%s the digest is %s; with the bundle it is %s", tc.name, got, digest)
		}
	}
}

// copyProgram copies a program of this machine, with the libraries it is linked
// to, into a root file system.
func copyProgram(t *testing.T, name, root string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; make packages-test installs it", err)
	}
	linked, err := exec.Command("ldd", program).Output()
	check(t, err)
	files := append(regexp.MustCompile(`/[^\s()]+`).FindAllString(string(linked), -1), program)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		to := filepath.Join(root, file)
		if file == program {
			to = filepath.Join(root, "usr/bin", name)
		}
		check(t, os.MkdirAll(filepath.Dir(to), 0o755))
		check(t, os.WriteFile(to, text, 0o755))
	}
}
