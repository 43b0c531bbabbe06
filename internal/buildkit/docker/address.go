package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-connections/tlsconfig"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/moby/client"
)

const (
	systemSocket = "/var/run/docker.sock"

	maxSettings = 4 << 20 // bytes of a file of Docker's settings
)

// endpoint is where an engine is.
type endpoint struct {
	host          string // as in DOCKER_HOST
	ca, cert, key string // PEM files for TLS; none: no TLS
	unverified    bool   // the context says that its certificate is not to be looked at
}

// find returns the endpoint that environ names.
func find(environ map[string]string) (endpoint, error) {
	config := environ["DOCKER_CONFIG"]
	if home := environ["HOME"]; config == "" && home != "" {
		config = filepath.Join(home, ".docker")
	}
	if host := environ["DOCKER_HOST"]; host != "" {
		return fromVariables(host, config, environ)
	}
	name, by := environ["DOCKER_CONTEXT"], "DOCKER_CONTEXT"
	if name == "" && config != "" { // without, it would be a file of the checkout
		file := filepath.Join(config, "config.json")
		by = file
		var settings struct{ CurrentContext string }
		err := readJSON(file, &settings)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return endpoint{}, fault.Failed(fmt.Errorf("settings of Docker: %w", err), "set DOCKER_HOST, or repair that file")
		}
		name = settings.CurrentContext
	}
	if name != "" && name != "default" {
		if config == "" {
			return endpoint{}, fault.Failed(fmt.Errorf("docker context %q of %s: neither DOCKER_CONFIG nor HOME says where contexts are", name, by), "set one of them, or DOCKER_HOST")
		}
		return fromContext(config, name, by)
	}
	return fromSockets(environ)
}

// fromVariables is the endpoint of DOCKER_HOST. Docker's own client does not
// verify TLS unless DOCKER_TLS_VERIFY says so; here who gives a certificate is
// also given security.
func fromVariables(host, config string, environ map[string]string) (endpoint, error) {
	at := endpoint{host: host}
	certificates := environ["DOCKER_CERT_PATH"]
	if certificates == "" && environ["DOCKER_TLS_VERIFY"] != "" {
		if certificates = config; config == "" {
			return endpoint{}, fault.Failed(errors.New("DOCKER_TLS_VERIFY: neither DOCKER_CERT_PATH, DOCKER_CONFIG nor HOME says where the certificates are"), "set DOCKER_CERT_PATH")
		}
	}
	if certificates != "" {
		at.ca, at.cert, at.key = filepath.Join(certificates, "ca.pem"), filepath.Join(certificates, "cert.pem"), filepath.Join(certificates, "key.pem")
	}
	return at, at.check("DOCKER_HOST")
}

// fromContext is the endpoint of a context that `docker context create` made.
// Its files are named after the digest of its name.
//
// https://github.com/docker/cli/blob/v29.8.2/cli/context/store/store.go
func fromContext(config, name, by string) (endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	err := readJSON(filepath.Join(config, "contexts", "meta", id, "meta.json"), &meta)
	if err != nil {
		return endpoint{}, fault.Failed(fmt.Errorf("docker context %q of %s: %w", name, by, err), "set DOCKER_HOST, or choose another with docker context use")
	}
	docker := meta.Endpoints["docker"]
	at := endpoint{host: docker.Host, unverified: docker.SkipTLSVerify}
	for file, to := range map[string]*string{"ca.pem": &at.ca, "cert.pem": &at.cert, "key.pem": &at.key} {
		path := filepath.Join(config, "contexts", "tls", id, "docker", file)
		if _, err := os.Stat(path); err == nil {
			*to = path
		}
	}
	return at, at.check(fmt.Sprintf("docker context %q", name))
}

// fromSockets is the system's engine, or the user's own. The system's counts
// where it is there, even when this user may not use it: that is worth an error.
func fromSockets(environ map[string]string) (endpoint, error) {
	sockets := []string{systemSocket}
	if dir := environ["XDG_RUNTIME_DIR"]; dir != "" {
		sockets = append(sockets, filepath.Join(dir, "docker.sock"))
	}
	for _, socket := range sockets {
		if _, err := os.Stat(socket); err == nil {
			return endpoint{host: "unix://" + socket}, nil
		}
	}
	return endpoint{}, fault.Failed(fmt.Errorf("no Docker Engine: DOCKER_HOST is not set, and there is no %s", strings.Join(sockets, " nor ")),
		"start Docker, mount its socket (-v /var/run/docker.sock:/var/run/docker.sock), or set DOCKER_HOST")
}

// check returns why the address, which by gave, cannot be used here.
func (at endpoint) check(by string) error {
	url, err := client.ParseHostURL(at.host)
	if err != nil {
		return fault.Failed(fmt.Errorf("%s: %w", by, err), "accepted are unix:///PATH and tcp://HOST:PORT")
	}
	switch url.Scheme {
	case "tcp":
		if strings.Contains(at.host, "@") { // not repeated: there may be a password
			return fault.Failed(fmt.Errorf("%s: a Docker Engine knows no users", by), "leave the part before @ out")
		}
		return nil
	case "unix":
		return nil
	case "ssh":
		return fault.Failed(fmt.Errorf("%s: a Docker Engine is not reached through ssh", by), "forward its socket (ssh -L), or give a BuildKit there as builder=ssh://…")
	}
	return fault.Failed(fmt.Errorf("%s: the address has an unknown scheme, %.20q", by, url.Scheme), "accepted are unix:///PATH and tcp://HOST:PORT")
}

// probe dials the socket: what goes wrong there, the client's errors no longer
// tell.
func (at endpoint) probe(ctx context.Context) error {
	path, ok := strings.CutPrefix(at.host, "unix://")
	if !ok {
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

// client returns a client for the endpoint. Nothing is sent.
func (at endpoint) client() (*client.Client, error) {
	var options []client.Opt
	if at.ca != "" || at.cert != "" || at.unverified {
		config, err := tlsconfig.Client(tlsconfig.Options{
			CAFile: at.ca, CertFile: at.cert, KeyFile: at.key,
			InsecureSkipVerify: at.unverified, ExclusiveRootPools: at.ca != "",
		})
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithHTTPClient(&http.Client{
			Transport:     &http.Transport{TLSClientConfig: config},
			CheckRedirect: client.CheckRedirect,
		}))
	}
	return client.New(append(options, client.WithHost(at.host))...)
}

// readJSON reads a file of Docker's settings.
func readJSON(file string, to any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxSettings)).Decode(to); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
