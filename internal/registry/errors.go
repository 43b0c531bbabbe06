package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/imagewright/imagewright/internal/ci"
)

// maxErrorBody bounds what is read of an answer that says no.
const maxErrorBody = 64 << 10

// Error is a request that a registry refused, or that never reached it. Its
// text holds no secret: addresses are without their queries, and what the
// registry wrote is bounded, made printable and rid of our credentials.
type Error struct {
	Method   string
	URL      string // without its query
	Registry string
	Status   int      // 0 when there was no answer
	Codes    []string // the registry's own, such as MANIFEST_UNKNOWN

	message    string // what the registry wrote
	retryAfter string
	token      bool // it was the token server
	anonymous  bool // there were no credentials to send
	hint       string
	cause      error
}

func (e *Error) Error() string {
	var parts []string
	if e.Method != "" {
		parts = append(parts, e.Method+" "+e.URL)
	} else if e.Registry != "" {
		parts = append(parts, e.Registry)
	}
	if e.Status != 0 {
		parts = append(parts, strings.TrimSpace(strconv.Itoa(e.Status)+" "+http.StatusText(e.Status)))
	}
	if e.message != "" {
		parts = append(parts, e.message)
	}
	if e.cause != nil {
		parts = append(parts, e.cause.Error())
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.cause }

// Hint says what to do, or nothing.
func (e *Error) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	if e.Status != 0 {
		return e.statusHint()
	}
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.Is(e.cause, syscall.ECONNREFUSED):
		return "nothing answers at " + e.Registry + ": is the registry running, and is its port right?"
	case errors.As(e.cause, &dns):
		return "check the name of the registry, and this machine's DNS and proxy settings"
	case errors.As(e.cause, &authority):
		return "if the registry has a certificate of its own authority, name that in ca-bundle"
	case errors.As(e.cause, &name), errors.As(e.cause, &invalid):
		return "the certificate of " + e.Registry + " is not good for it; ask its administrator"
	case errors.As(e.cause, &record), e.cause != nil && strings.Contains(e.cause.Error(), "server gave HTTP response to HTTPS client"):
		return e.Registry + " does not use TLS; name it in insecure-registries if that is meant"
	}
	return ""
}

func (e *Error) statusHint() string {
	switch e.Status {
	case http.StatusUnauthorized:
		if e.anonymous {
			return "no credentials for " + e.Registry + " were found: set username and password, or log in (docker login " + e.Registry + "; DOCKER_CONFIG)"
		}
		return "the credentials for " + e.Registry + " were refused, or do not reach this far: check username and password, or log in again (docker login " + e.Registry + ")"
	case http.StatusForbidden:
		return "the credentials for " + e.Registry + " may not do this: give them more rights on this repository, or use others"
	case http.StatusTooManyRequests:
		return "the registry limits how much may be asked of it: log in, or try again later"
	case http.StatusNotFound:
		if e.Method == http.MethodPost || e.Method == http.MethodPut {
			return "check the repository's name; some registries want it created first"
		}
	case http.StatusMethodNotAllowed:
		if e.Method == http.MethodDelete {
			return "this registry does not let clients delete (distribution: storage.delete.enabled)"
		}
	case http.StatusRequestEntityTooLarge:
		return "the registry, or a proxy before it, has a limit for the size of one upload"
	}
	if e.Status >= 500 {
		return "the registry is in trouble; try again later"
	}
	return ""
}

// transportError makes an Error of what a transport or http.Client returned.
func (c *Client) transportError(req *http.Request, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	address, cause := req.URL, err
	var u *url.Error
	if errors.As(err, &u) {
		cause = u.Err // without the address: a redirect's has a signature in it
		if at, err := url.Parse(u.URL); err == nil && at.Host != req.URL.Host {
			address = &url.URL{Scheme: at.Scheme, Host: at.Host, Path: "/…"}
		}
	}
	return &Error{Method: req.Method, URL: redact(address), Registry: address.Host, cause: cause}
}

// answerError makes an Error of an answer, and closes it.
func (c *Client) answerError(resp *http.Response) *Error {
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if resp.Request != nil {
		e.Method, e.URL, e.Registry = resp.Request.Method, redact(resp.Request.URL), resp.Request.URL.Host
		if t, ok := targetOf(resp.Request.Context()); ok {
			if t.host() != e.Registry {
				e.URL = resp.Request.URL.Scheme + "://" + e.Registry + "/…"
			}
			e.Registry = t.host()
			e.anonymous = c.session(t.host()).anonymous(t)
		}
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var answer struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"` // token servers
	}
	if json.Unmarshal(body, &answer) != nil {
		return e
	}
	var texts []string
	for _, one := range answer.Errors[:min(len(answer.Errors), 3)] {
		e.Codes = append(e.Codes, printable(one.Code, 60))
		texts = append(texts, printable(c.scrub(one.Code+": "+one.Message), 300))
	}
	if len(texts) == 0 && answer.Details != "" {
		texts = append(texts, printable(c.scrub(answer.Details), 300))
	}
	e.message = strings.Join(texts, ", ")
	return e
}

// expect returns an Error unless the answer has one of the wanted statuses. On
// error the answer is closed.
func (c *Client) expect(resp *http.Response, wanted ...int) error {
	if slices.Contains(wanted, resp.StatusCode) {
		return nil
	}
	return c.answerError(resp)
}

// mismatch is an answer that contradicts itself or the question.
func mismatch(method, url, format string, args ...any) error {
	return &Error{Method: method, URL: url, cause: fmt.Errorf(format, args...),
		hint: "the registry, or a proxy before it, altered the content"}
}

// redact is u without what may be secret in it: the query, and a user.
func redact(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// printable bounds s and makes it fit for a line.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return ci.Printable(s)
}

// Status returns the status of the answer that err is about, or 0.
func Status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	if e, ok := errors.AsType[*transport.Error](err); ok { // an image that is read lazily
		return e.StatusCode
	}
	return 0
}

// HasCode says whether the registry gave code, such as DENIED, as a reason.
func HasCode(err error, code string) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return slices.Contains(e.Codes, code)
	}
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return slices.ContainsFunc(e.Errors, func(d transport.Diagnostic) bool { return string(d.Code) == code })
	}
	return false
}

// IsNotFound says whether the registry has no such thing.
func IsNotFound(err error) bool { return Status(err) == http.StatusNotFound && !isToken(err) }

// IsUnauthorized says whether credentials are missing, wrong or too weak.
func IsUnauthorized(err error) bool {
	s := Status(err)
	return s == http.StatusUnauthorized || s == http.StatusForbidden
}

// IsUnsupported says whether the registry cannot do this at all, as far as one
// answer tells. A tag that cannot be deleted is 405 UNSUPPORTED, or, from
// distribution before version 3, which takes it for a digest, 400
// DIGEST_INVALID. 405 DENIED protects this one manifest and is not unsupported.
func IsUnsupported(err error) bool {
	switch Status(err) {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return !HasCode(err, "DENIED")
	case http.StatusBadRequest:
		return HasCode(err, "UNSUPPORTED") || HasCode(err, "DIGEST_INVALID")
	}
	return HasCode(err, "UNSUPPORTED")
}

// IsProtected says whether the registry keeps a manifest because something it
// knows of still needs it: zot answers 405 DENIED for a child of a tagged
// index, Google's registries GOOGLE_MANIFEST_DANGLING_….
func IsProtected(err error) bool {
	return Status(err) == http.StatusMethodNotAllowed && HasCode(err, "DENIED") ||
		HasCode(err, "GOOGLE_MANIFEST_DANGLING_TAG") || HasCode(err, "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE")
}

func isToken(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.token
}

// isScopeRefused says whether a token server refused what was asked for.
func isScopeRefused(err error) bool {
	s := Status(err)
	return isToken(err) && s >= 400 && s < 500 && s != http.StatusTooManyRequests
}
