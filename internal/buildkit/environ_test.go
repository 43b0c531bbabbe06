package buildkit

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestTheEngineGetsNoSecretOfTheEnvironment(t *testing.T) {
	const canary = "canary-5a1e"
	o := options(t, t.TempDir())
	o.Environ = append(os.Environ(), "GITHUB_TOKEN="+canary, "IMAGEWRIGHT_BUILD_SECRETS="+canary, "HTTP_PROXY=http://proxy.invalid")
	e := start(t, o)
	defer stop(t, e)
	var all string
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", e.process.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		all += string(b)
	}
	if strings.Contains(all, canary) {
		t.Errorf("the engine was started with a secret: %q", all)
	}
	for _, want := range []string{"PATH=", "HTTP_PROXY=http://proxy.invalid", "TMPDIR=" + o.StateDir} {
		if !strings.Contains(all, want) {
			t.Errorf("the engine was started without %s: %q", want, all)
		}
	}
}

func TestCertificatesOfTheBundleAreTrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello")
	}))
	defer server.Close()
	dir := buildContext(t, "FROM scratch\nADD "+server.URL+"/hello /hello\n", nil)
	o := options(t, t.TempDir())
	o.CABundle = writeCertificate(t, server.Certificate())
	e := start(t, o)
	defer stop(t, e)
	mustBuild(t, e, dir, newLayout(t), "1700000000")
}

func writeCertificate(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestABundleWithoutCertificatesIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(path, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bundle := range []string{path, path + ".missing"} {
		o := options(t, t.TempDir())
		o.CABundle = bundle
		_, err := Start(t.Context(), o)
		if fault.Code(err) != fault.ExitUsage || !strings.Contains(fmt.Sprint(err), bundle) {
			t.Errorf("Start with bundle %s: %v (exit %d); want exit 2 and the file's name", bundle, err, fault.Code(err))
		}
	}
}
