package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/imagewright/imagewright/internal/fault"
)

// maxPEM bounds a file of certificates or a key, in bytes.
const maxPEM = 8 << 20

// TLS are the files that a connection over TLS is made with, and the name it is
// made to. The zero value is a connection without TLS.
type TLS struct {
	CACert     string // PEM file of the only authorities to trust; "" for the system's
	Cert, Key  string // PEM files of our own certificate; both or none
	ServerName string // in the builder's certificate; "" for the address's host

	// System are the authorities that are trusted where CACert names none; nil
	// for those of the system.
	System *x509.CertPool
}

// Enabled tells whether TLS is spoken: whether any of it is given.
func (t TLS) Enabled() bool {
	return t.CACert != "" || t.Cert != "" || t.Key != "" || t.ServerName != ""
}

// credentials returns what gRPC makes connections with. Errors are usage errors
// that name the input.
func (t TLS) credentials() (credentials.TransportCredentials, error) {
	if !t.Enabled() {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{RootCAs: t.System, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CACert != "" {
		pem, err := readPEM("builder-cacert", t.CACert)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, badInput("builder-cacert", fmt.Errorf("%s holds no certificate", t.CACert))
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
		return credentials.NewTLS(config), nil
	case t.Cert == "":
		return nil, badInput("builder-key", errors.New("a key is of no use without builder-cert"))
	case t.Key == "":
		return nil, badInput("builder-cert", errors.New("a certificate is of no use without builder-key"))
	}
	cert, err := readPEM("builder-cert", t.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readPEM("builder-key", t.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, badInput("builder-cert", fmt.Errorf("%s with the key %s: %w", t.Cert, t.Key, err))
	}
	config.Certificates = []tls.Certificate{pair}
	return credentials.NewTLS(config), nil
}

func readPEM(input, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badInput(input, err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, badInput(input, err)
	}
	if len(pem) > maxPEM {
		return nil, badInput(input, fmt.Errorf("%s is larger than %d bytes", path, maxPEM))
	}
	return pem, nil
}

func badInput(name string, err error) error {
	return fault.Usage(fmt.Errorf("input %s: %w", name, err), "it must be a PEM file")
}
