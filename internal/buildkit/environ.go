package buildkit

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxBundle bounds a file of certificates, in bytes. Mozilla's is 0.2 MB.
const maxBundle = 8 << 20

// passedOn are the only variables of the caller's environment that the engine
// gets. A CI's environment is full of tokens, and whatever is in the engine's
// can be read by whoever breaks out of a build step.
var passedOn = []string{
	"PATH",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

// environment returns what of environ the engine gets, by name.
func environment(environ []string) map[string]string {
	env := make(map[string]string)
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok && value != "" && slices.Contains(passedOn, name) {
			env[name] = value
		}
	}
	return env
}

// readBundle returns file path, in which there is at least one certificate.
func readBundle(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pems, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	switch {
	case err != nil:
		return nil, err
	case len(pems) > maxBundle:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxBundle)
	}
	for rest := bytes.TrimSpace(pems); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s holds no certificate", path)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			return pems, nil
		}
	}
}
