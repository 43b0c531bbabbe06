package docker

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/test/buildkitd"
	"github.com/imagewright/imagewright/test/dockerd"
)

// As docker:dind has it on GitLab: DOCKER_HOST=tcp://docker:2376 and
// DOCKER_CERT_PATH=/certs/client.
func TestAnEngineIsReachedOverTLS(t *testing.T) {
	own := certificates(t)
	address := freeAddress(t)
	dockerd.Start(t, "--host=tcp://"+address, "--tlsverify", "--tlscacert="+own+"/ca.pem",
		"--tlscert="+own+"/cert.pem", "--tlskey="+own+"/key.pem")
	e, err := Connect(t.Context(), Options{Environ: []string{"DOCKER_HOST=tcp://" + address, "DOCKER_CERT_PATH=" + own}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	made := e.NewImage()
	if err := solve(t.Context(), c, contextOf(t, dockerfile), made.Export()); err != nil {
		t.Fatalf("build: %v", err)
	}
	archive, err := made.Save(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fileIn(t, save(t, archive), "said"); got != "hello\n" {
		t.Errorf("the RUN step wrote %q; want hello", got)
	}

	for name, environ := range map[string][]string{
		"a certificate of another authority": {"DOCKER_HOST=tcp://" + address, "DOCKER_CERT_PATH=" + certificates(t)},
		"no TLS":                             {"DOCKER_HOST=tcp://" + address},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Connect(t.Context(), Options{Environ: environ})
			if err == nil {
				e.Close()
				t.Fatal("Connect() = nil; want an error")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificates is a directory with the certificates of a new authority, by the
// names that Docker has for them.
func certificates(t *testing.T) string {
	t.Helper()
	authority := buildkitd.NewAuthority(t)
	pair, dir := authority.Issue(t, "engine", "127.0.0.1"), t.TempDir()
	for name, file := range map[string]string{"ca.pem": authority.File, "cert.pem": pair.Cert, "key.pem": pair.Key} {
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
