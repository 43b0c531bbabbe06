package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/test/buildkitd"
)

// dial connects for as long as the test runs.
func dial(t *testing.T, address string, o Options) (*client.Client, error) {
	t.Helper()
	a, err := ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), a, o)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// mustAnswer asks the BuildKit at address for its workers.
func mustAnswer(t *testing.T, address string, o Options) {
	t.Helper()
	c, err := dial(t, address, o)
	if err != nil {
		t.Fatalf("%v; hint: %s", err, fault.Hint(err))
	}
	workers, err := c.ListWorkers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatalf("%s has workers %v, error %v; want one", address, workers, err)
	}
}

// certified is a buildkitd with a certificate for buildkitd.test that asks
// clients for one, and what a client needs for it.
func certified(t *testing.T) (*buildkitd.Server, *buildkitd.Authority, TLS) {
	authority := buildkitd.NewAuthority(t)
	server := buildkitd.Start(t, buildkitd.Options{
		TLS: authority.Issue(t, "server", "buildkitd.test"), Client: authority.File,
	})
	mine := authority.Issue(t, "client")
	return server, authority, TLS{CACert: authority.File, Cert: mine.Cert, Key: mine.Key, ServerName: "buildkitd.test"}
}

func TestDialsOverTLSWithBothCertificates(t *testing.T) {
	server, _, good := certified(t)
	mustAnswer(t, server.Addr, Options{TLS: good})

	stranger := buildkitd.NewAuthority(t)
	theirs := stranger.Issue(t, "client")
	for _, tc := range []struct {
		name   string
		change func(*TLS)
		cause  any // for errors.As
		hint   string
	}{
		{"another authority", func(o *TLS) { o.CACert = stranger.File }, new(x509.UnknownAuthorityError), "builder-cacert"},
		{"the system's authorities", func(o *TLS) { o.CACert = "" }, new(x509.UnknownAuthorityError), "builder-cacert"},
		{"another name", func(o *TLS) { o.ServerName = "elsewhere.test" }, new(x509.HostnameError), "builder-servername"},
		{"the address for a name", func(o *TLS) { o.ServerName = "" }, new(x509.HostnameError), "builder-servername"},
		{"no certificate of ours", func(o *TLS) { o.Cert, o.Key = "", "" }, new(*net.OpError), "builder-cert"},
		{"a certificate of another authority", func(o *TLS) { o.Cert, o.Key = theirs.Cert, theirs.Key }, new(*net.OpError), "builder-cert"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := good
			tc.change(&o)
			_, err := dial(t, server.Addr, Options{TLS: o})
			checkUnreachable(t, err, server.Addr, tc.hint)
			if !errors.As(err, tc.cause) {
				t.Errorf("the cause of %q is no %T", err, tc.cause)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		_, err := dial(t, server.Addr, Options{Patience: time.Second})
		checkUnreachable(t, err, server.Addr, "does it speak TLS?")
	})
}

func checkUnreachable(t *testing.T, err error, address, hint string) {
	t.Helper()
	if !errors.As(err, new(*Unreachable)) {
		t.Fatalf("the error is %v, not of type Unreachable", err)
	}
	if !strings.Contains(err.Error(), "builder "+address) || !strings.Contains(fault.Hint(err), hint) || fault.Code(err) != fault.ExitFailed {
		t.Errorf("exit %d, %q, hint %q; want the address %s, and %q in the hint", fault.Code(err), err, fault.Hint(err), address, hint)
	}
}

func TestDialsWithoutTLS(t *testing.T) {
	server := buildkitd.Start(t, buildkitd.Options{})
	var log bytes.Buffer
	mustAnswer(t, server.Addr, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if log.Len() > 0 {
		t.Errorf("loopback needs no warning: %s", &log)
	}
	_, err := dial(t, server.Addr, Options{TLS: TLS{CACert: buildkitd.NewAuthority(t).File}})
	checkUnreachable(t, err, server.Addr, "does not speak TLS")
	if !errors.As(err, new(tls.RecordHeaderError)) {
		t.Errorf("the cause of %q is no tls.RecordHeaderError", err)
	}
}

func TestProxiesOfTheEnvironmentDoNotCount(t *testing.T) {
	server := buildkitd.Start(t, buildkitd.Options{})
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	mustAnswer(t, server.Addr, Options{})
}

func TestABuilderThatIsLateIsWaitedFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "buildkitd.sock")
	answered := make(chan error, 1)
	go func() {
		a, err := ParseAddress("unix://" + socket)
		if err == nil {
			var c *client.Client
			if c, err = Dial(t.Context(), a, Options{Patience: time.Minute}); err == nil {
				err = c.Close()
			}
		}
		answered <- err
	}()
	buildkitd.Start(t, buildkitd.Options{Addr: "unix://" + socket})
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestWhereNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // and nobody there who answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, tc := range []struct{ name, address, want, hint string }{
		{"no socket", "unix://" + filepath.Join(t.TempDir(), "none.sock"), "no such file or directory", "is buildkitd running"},
		{"closed port", "tcp://127.0.0.1:1", "connection refused", "is buildkitd running"},
		{"silence", "tcp://" + listener.Addr().String(), "no answer in 300ms", "is buildkitd running"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := dial(t, tc.address, Options{Patience: 300 * time.Millisecond})
			checkUnreachable(t, err, tc.address, tc.hint)
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %q; want %q in it", err, tc.want)
			}
		})
	}
}

func TestACancelledDialSaysWhy(t *testing.T) {
	a, err := ParseAddress("tcp://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the job was cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := Dial(ctx, a, Options{}); !errors.Is(err, reason) {
		t.Errorf("the error is %v, want %v", err, reason)
	}
}

func TestFilesOfTLSAreUsageErrors(t *testing.T) {
	authority := buildkitd.NewAuthority(t)
	one, other := authority.Issue(t, "one"), authority.Issue(t, "other")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		tls  TLS
		want string
	}{
		{"missing file", TLS{CACert: "/nowhere/ca.pem"}, "input builder-cacert: open /nowhere/ca.pem"},
		{"no certificate in it", TLS{CACert: empty}, "input builder-cacert: " + empty + " holds no certificate"},
		{"a key alone", TLS{Key: one.Key}, "input builder-key: "},
		{"a certificate alone", TLS{Cert: one.Cert}, "input builder-cert: "},
		{"a key of another certificate", TLS{Cert: one.Cert, Key: other.Key}, "private key does not match"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := dial(t, "tcp://127.0.0.1:1", Options{TLS: tc.tls})
			if err == nil || fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("exit %d, %v; want 2 and %q", fault.Code(err), err, tc.want)
			}
		})
	}
}
