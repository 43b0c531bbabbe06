package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/imagewright/imagewright/internal/fault"
)

// trouble is why a connection came to nothing: the error itself, where gRPC has
// only text left. The first one of an attempt counts, for it causes the others.
type trouble struct {
	mu    sync.Mutex
	err   error
	fresh bool // an attempt that met none yet: err is of the one before
}

// begin begins an attempt.
func (t *trouble) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = true
}

func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	command := errors.As(err, new(*commandFailed)) // says more than the end of a stream does
	switch {
	case err == nil, errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
	case t.fresh, command:
		t.err, t.fresh = err, false
	}
}

func (t *trouble) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// lasting returns the trouble if trying again cannot help: a certificate, or a
// command that gave up.
func (t *trouble) lasting() error {
	err := t.last()
	if errors.As(err, new(*tls.CertificateVerificationError)) || isAlert(err) ||
		errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(*commandFailed)) {
		return err
	}
	return nil
}

// noting are credentials that note why a handshake failed, or a connection
// under them: a server that wants another certificate of us says so only after
// the handshake, since TLS 1.3.
type noting struct {
	credentials.TransportCredentials
	seen *trouble
}

// ClientHandshake implements credentials.TransportCredentials.
func (n noting) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := n.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		n.seen.note(err)
		return nil, nil, err
	}
	return notedConn{conn, n.seen}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (n noting) Clone() credentials.TransportCredentials {
	return noting{n.TransportCredentials.Clone(), n.seen}
}

type notedConn struct {
	net.Conn
	seen *trouble
}

// Read implements net.Conn.
func (c notedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.seen.note(err)
	return n, err
}

// Unreachable is returned when no BuildKit answers at an address.
type Unreachable struct {
	Address Address
	Cause   error
}

// Error implements error.
func (e *Unreachable) Error() string { return "builder " + e.Address.String() + ": " + e.Cause.Error() }

// Unwrap returns the cause.
func (e *Unreachable) Unwrap() error { return e.Cause }

// ExitCode is that of a failure, whatever an ssh below it exited with.
func (e *Unreachable) ExitCode() int { return fault.ExitFailed }

// Hint says what may help.
func (e *Unreachable) Hint() string {
	if program, ok := errors.AsType[*missingProgram](e.Cause); ok {
		return "install " + map[string]string{"ssh": "an ssh client", "kubectl": "kubectl"}[program.name]
	}
	if failed, ok := errors.AsType[*commandFailed](e.Cause); ok {
		return failed.hint()
	}
	if hint := certificateHint(e.Cause); hint != "" {
		return hint
	}
	switch {
	case errors.As(e.Cause, new(*net.DNSError)):
		return "is the name right, and is it that of a service of this job?"
	case errors.Is(e.Cause, fs.ErrPermission):
		return "this user may not open it"
	case errors.Is(e.Cause, io.EOF):
		return "is it a BuildKit, and does it speak TLS? Then builder-cacert, builder-cert and builder-key are needed"
	}
	return "is buildkitd running and listening there?"
}

// certificateHint says what to do about a TLS handshake.
func certificateHint(err error) string {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return "builder-cacert must name the authority that signed the builder's certificate"
	}
	if errors.As(err, new(x509.HostnameError)) {
		return "builder-servername can say which name stands in the builder's certificate"
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return "the builder needs another certificate"
	}
	if isAlert(err) {
		return "builder-cert and builder-key must be a certificate that the builder trusts, and its key"
	}
	if errors.As(err, new(tls.RecordHeaderError)) {
		return "it does not speak TLS: leave builder-cacert, builder-cert, builder-key and builder-servername out, or have it speak TLS"
	}
	return ""
}

// isAlert tells whether the other side ended a TLS connection for what we are:
// crypto/tls has a type of its own for that over QUIC only.
func isAlert(err error) bool {
	remote, ok := errors.AsType[*net.OpError](err)
	return ok && remote.Op == "remote error"
}
