package buildkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority returns a certificate of its own for 127.0.0.1, and as PEM.
func authority(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// serveTLS returns the address of a server with that certificate.
func serveTLS(t *testing.T, certificate tls.Certificate) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// fetcher returns a static program that fetches the addresses it is given.
func fetcher(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fetch")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/fetch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(program)
}

// trusting are options with bundle as the CA bundle, of steps too.
func trusting(t *testing.T, bundle string) Options {
	t.Helper()
	o := options(t, t.TempDir())
	o.CABundle, o.CAInSteps = filepath.Join(t.TempDir(), "company.pem"), true
	if err := os.WriteFile(o.CABundle, []byte(bundle), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestStepsTrustTheCompanyAndNoLayerShowsIt(t *testing.T) {
	company, companyPEM := authority(t, "company")
	own, ownPEM := authority(t, "the image's own")
	stranger, _ := authority(t, "a stranger")
	at := fmt.Sprintf(`["/fetch", "%s", "%s", "!%s"]`, serveTLS(t, company), serveTLS(t, own), serveTLS(t, stranger))
	files := map[string]string{"fetch": fetcher(t), "own.pem": ownPEM}
	const head = "FROM scratch\nCOPY busybox fetch /\n"
	for _, tc := range []struct{ name, dockerfile string }{
		{"an image without /dev and without authorities", head + `RUN ["/busybox", "sh", "-c", "/busybox mkdir -p /etc/ssl && /busybox touch /etc/ssl/made"]` + "\n"},
		{"an image with authorities", head + "COPY own.pem /etc/ssl/certs/ca-certificates.crt\nRUN " + at + "\n" +
			// What update-ca-certificates does, and would be refused on a mount point.
			`RUN ["/busybox", "sh", "-c", "/busybox cp /etc/ssl/certs/ca-certificates.crt /new && /busybox mv /new /etc/ssl/certs/ca-certificates.crt"]` + "\n"},
		{"authorities behind a link, for another user", head + "COPY own.pem /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem\n" +
			`RUN ["/busybox", "sh", "-c", "/busybox mkdir -p /etc/pki/tls/certs /etc/ssl && /busybox ln -s /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem /etc/pki/tls/certs/ca-bundle.crt"]` +
			"\nUSER 1000\nRUN " + at + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := buildContext(t, tc.dockerfile, files)
			e := start(t, trusting(t, companyPEM))
			with := mustSolve(t, e, dir, nil)
			stop(t, e)
			// Without the bundle the same steps cannot fetch: they are told not to.
			plain := strings.ReplaceAll(tc.dockerfile, "RUN "+at, `RUN ["/busybox", "true"]`)
			if plain == tc.dockerfile {
				e = start(t, options(t, t.TempDir()))
				defer stop(t, e)
				if without := mustSolve(t, e, dir, nil); without.root.Digest != with.root.Digest {
					t.Errorf("digest with the bundle %s, without %s", with.root.Digest, without.root.Digest)
				}
				return
			}
			e = start(t, options(t, t.TempDir()))
			defer stop(t, e)
			without := mustSolve(t, e, buildContext(t, plain, files), nil)
			if got, want := layerDigests(t, with), layerDigests(t, without); got != want {
				t.Errorf("layers with the bundle\n%s\nwithout\n%s", got, want)
			}
		})
	}
}

func TestAStepKeepsTheVariablesItHas(t *testing.T) {
	_, companyPEM := authority(t, "company")
	e := start(t, trusting(t, companyPEM))
	defer stop(t, e)
	s := mustSolve(t, e, buildContext(t, `FROM scratch
COPY busybox /busybox
ENV SSL_CERT_FILE=/mine
RUN ["/busybox", "sh", "-c", "/busybox env; /busybox cat $APT_CONFIG $WGETRC $NODE_EXTRA_CA_CERTS; /busybox touch $NODE_EXTRA_CA_CERTS || echo it is read-only"]
`, nil), nil)
	for _, want := range []string{
		"SSL_CERT_FILE=/mine", "PIP_CERT=/dev/.imagewright/ca.pem", "NODE_EXTRA_CA_CERTS=/dev/.imagewright/company.pem",
		`Acquire::https::CAInfo "/dev/.imagewright/ca.pem";`, "ca_certificate = /dev/.imagewright/ca.pem",
		strings.TrimSpace(companyPEM), "it is read-only",
	} {
		if !strings.Contains(s.log, want) {
			t.Errorf("the step does not see %q:\n%s", want, s.log)
		}
	}
}

func TestAHostileImageHasNoBundleFromOutside(t *testing.T) {
	_, companyPEM := authority(t, "company")
	const canary = "-----BEGIN CERTIFICATE-----\nc4n4ry\n"
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte(canary), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, trick := range []string{
		"/busybox ln -s " + outside + " ca-certificates.crt",
		"/busybox ln -s ../../../../../../../../.." + outside + " ca-certificates.crt",
		"/busybox mkfifo ca-certificates.crt",
		"/busybox mkdir ca-certificates.crt",
	} {
		e := start(t, trusting(t, companyPEM))
		s := mustSolve(t, e, buildContext(t, `FROM scratch
COPY busybox /busybox
WORKDIR /etc/ssl/certs
RUN ["/busybox", "sh", "-c", "`+trick+`"]
RUN ["/busybox", "sh", "-c", "/busybox grep -c c4n4ry $CURL_CA_BUNDLE; /busybox tail -n 3 $CURL_CA_BUNDLE"]
`, nil), nil)
		stop(t, e)
		if !strings.Contains(s.log, "0\n") || !strings.Contains(s.log, "END CERTIFICATE") {
			t.Errorf("%s: a file of this machine is in the bundle, or the company's is not:\n%s", trick, s.log)
		}
	}
}
