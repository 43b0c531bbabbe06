package docker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
)

// write makes the files below a directory of the test's.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contextID is the digest of "rootless", after which Docker names that context's folders.
const contextID = "12b961af5feb3e9d39f93b2cefb9a1a944f18d02cca0cac2f04f5a982240605f"

func TestWithoutAHomeNoSettingsOfTheCheckoutCount(t *testing.T) {
	t.Chdir(write(t, map[string]string{
		"config.json": `{"currentContext": "rootless"}`,
		"contexts/meta/" + contextID + "/meta.json": `{"Name": "rootless", "Endpoints": {"docker": {"Host": "tcp://attacker:2375"}}}`,
	}))
	if got, _ := find(nil); strings.Contains(got.host, "attacker") { // what else is found depends on the machine
		t.Errorf("the engine is %q, of the checkout's context", got.host)
	}
	for name, environ := range map[string]map[string]string{
		"context": {"DOCKER_CONTEXT": "rootless"},
		"TLS":     {"DOCKER_HOST": "tcp://docker:2376", "DOCKER_TLS_VERIFY": "1"},
	} {
		if got, err := find(environ); err == nil || fault.Hint(err) == "" {
			t.Errorf("%s: find() = %+v, %v; want an error with a hint", name, got, err)
		}
	}
}

func TestWhichEngineIsFoundFirst(t *testing.T) {
	home := write(t, map[string]string{
		".docker/config.json":                                    `{"currentContext": "rootless", "auths": {}}`,
		".docker/contexts/meta/" + contextID + "/meta.json":      `{"Name": "rootless", "Endpoints": {"docker": {"Host": "unix:///run/user/1000/docker.sock"}}}`,
		".docker/contexts/tls/" + contextID + "/docker/ca.pem":   "",
		".docker/contexts/tls/" + contextID + "/docker/cert.pem": "",
		".docker/contexts/tls/" + contextID + "/docker/key.pem":  "",
		"own/docker.sock": "",
	})
	tls := filepath.Join(home, ".docker/contexts/tls", contextID, "docker")
	for _, tc := range []struct {
		name    string
		environ map[string]string
		want    endpoint
	}{
		{"DOCKER_HOST", map[string]string{"DOCKER_HOST": "tcp://docker:2375", "DOCKER_CONTEXT": "rootless", "HOME": home}, endpoint{host: "tcp://docker:2375"}},
		{"with certificates", map[string]string{"DOCKER_HOST": "tcp://docker:2376", "DOCKER_CERT_PATH": "/certs/client"},
			endpoint{host: "tcp://docker:2376", ca: "/certs/client/ca.pem", cert: "/certs/client/cert.pem", key: "/certs/client/key.pem"}},
		{"DOCKER_CONTEXT", map[string]string{"DOCKER_CONTEXT": "rootless", "HOME": home},
			endpoint{host: "unix:///run/user/1000/docker.sock", ca: tls + "/ca.pem", cert: tls + "/cert.pem", key: tls + "/key.pem"}},
		{"the current context", map[string]string{"DOCKER_CONFIG": filepath.Join(home, ".docker")},
			endpoint{host: "unix:///run/user/1000/docker.sock", ca: tls + "/ca.pem", cert: tls + "/cert.pem", key: tls + "/key.pem"}},
		{"the user's own socket", map[string]string{"DOCKER_CONTEXT": "default", "HOME": home, "XDG_RUNTIME_DIR": filepath.Join(home, "own")},
			endpoint{host: "unix://" + filepath.Join(home, "own/docker.sock")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := os.Stat(systemSocket); err == nil && strings.Contains(tc.name, "own") {
				tc.want.host = "unix://" + systemSocket // this machine has Docker: it comes first
			}
			got, err := find(tc.environ)
			if err != nil || got != tc.want {
				t.Errorf("find() = %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestWhyNoEngineIsReachedIsSaidWithWhatToDo(t *testing.T) {
	listening := filepath.Join(t.TempDir(), "http.sock")
	other := serveHTTP(t, listening)
	defer other.Close()
	dead := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	damaged := write(t, map[string]string{"config.json": "{", "contexts/x": ""})
	for _, tc := range []struct {
		name    string
		environ []string
		want    string
		hint    string
	}{
		{"no such socket", []string{"DOCKER_HOST=unix:///nowhere/docker.sock"}, "unix:///nowhere/docker.sock: connect: no such file", "-v /var/run/docker.sock"},
		{"nobody listens", []string{"DOCKER_HOST=unix://" + dead}, "connection refused", "start Docker"},
		{"another service", []string{"DOCKER_HOST=unix://" + listening}, "the Docker Engine at unix://" + listening, "DOCKER_HOST"},
		{"no host at all", []string{"DOCKER_HOST=/var/run/docker.sock"}, "DOCKER_HOST", "unix:///PATH"},
		{"ssh", []string{"DOCKER_HOST=ssh://me@there"}, "not reached through ssh", "builder=ssh://"},
		{"a password", []string{"DOCKER_HOST=tcp://me:hunter2@there:2375"}, "knows no users", "before @"},
		{"npipe", []string{"DOCKER_HOST=npipe:////./pipe/docker_engine"}, "unknown scheme", "tcp://HOST:PORT"},
		{"certificates that are missing", []string{"DOCKER_HOST=tcp://127.0.0.1:1", "DOCKER_CERT_PATH=/nowhere"}, "/nowhere/", "DOCKER_CERT_PATH"},
		{"a context that is missing", []string{"DOCKER_CONTEXT=gone", "DOCKER_CONFIG=" + t.TempDir()}, `docker context "gone" of DOCKER_CONTEXT`, "docker context use"},
		{"damaged settings", []string{"DOCKER_CONFIG=" + damaged}, "config.json", "repair"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := Connect(t.Context(), Options{Environ: tc.environ})
			if err == nil {
				e.Close()
				t.Fatal("Connect() = nil; want an error")
			}
			if !strings.Contains(err.Error(), tc.want) || fault.Code(err) != fault.ExitFailed || !strings.Contains(fault.Hint(err), tc.hint) {
				t.Errorf("Connect() = %v (exit %d, hint %q); want %q, exit 1, hint %q", err, fault.Code(err), fault.Hint(err), tc.want, tc.hint)
			}
		})
	}
}

// serveHTTP serves at a socket what is no Docker Engine.
func serveHTTP(t *testing.T, path string) *http.Server {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler()}
	go s.Serve(l)
	return s
}

func TestWhoMayNotUseTheSocketIsToldWhoMay(t *testing.T) {
	err := (&Engine{address: "unix:///var/run/docker.sock"}).unreachable(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if !strings.Contains(fault.Hint(err), "group") || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("permission denied: %v, hint %q; want the group", err, fault.Hint(err))
	}
}

func TestConnectingEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "silent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // connections are queued, and never answered
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := Connect(ctx, Options{Environ: []string{"DOCKER_HOST=unix://" + path}}); err == nil {
		t.Error("Connect() = nil; want an error")
	}
}
