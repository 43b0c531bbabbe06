package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultRetries = 7

	firstWait = time.Second      // doubles with every try
	longWait  = 60 * time.Second // where doubling ends

	// maxRetryAfter is the longest a registry may ask us to wait. Docker Hub's
	// limit resets after hours; a job should say so, not sleep through it.
	maxRetryAfter = 10 * time.Minute
)

// retryPolicy decides whether and when something is tried again. Tests put
// another clock in it.
type retryPolicy struct {
	retries int
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	random  func() float64 // in [0, 1)
}

func newRetryPolicy(retries int) retryPolicy {
	if retries == 0 {
		retries = defaultRetries
	}
	return retryPolicy{retries: max(retries, 0), now: time.Now, sleep: sleep, random: rand.Float64}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// wait returns how long to wait before the try after number try (from 0), and
// false when there is to be none. What the registry asked for wins.
func (p retryPolicy) wait(try int, retryAfter string) (time.Duration, bool) {
	if try >= p.retries {
		return 0, false
	}
	if d, ok := p.parseRetryAfter(retryAfter); ok {
		return d, d <= maxRetryAfter
	}
	limit := longWait
	if try < 6 {
		limit = min(longWait, firstWait<<try)
	}
	// Full jitter: clients that were cut off together do not return together.
	return time.Duration(p.random() * float64(limit)), true
}

// parseRetryAfter reads both forms of Retry-After, seconds and a date.
// RFC 9110, 10.2.3.
func (p retryPolicy) parseRetryAfter(value string) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(p.now()), 0), true
	}
	return 0, false
}

// retrying sends a request again when its failure may pass.
type retrying struct {
	client *Client
	next   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (r *retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	t, _ := targetOf(ctx)
	rewinds := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
	for try := 0; ; try++ {
		out := req.Clone(ctx)
		out.Header.Set("User-Agent", r.client.userAgent)
		if try > 0 && req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			out.Body = body
		}
		resp, err := r.next.RoundTrip(out)
		r.client.logRequest(out, resp, err)
		if t.once || !rewinds || ctx.Err() != nil || !passing(resp, err) {
			return resp, err
		}
		after := ""
		if resp != nil {
			after = resp.Header.Get("Retry-After")
		}
		wait, again := r.client.retry.wait(try, after)
		if !again {
			return resp, err
		}
		if resp != nil {
			discard(resp)
		}
		r.client.logRetry(out, resp, err, wait)
		if err := r.client.retry.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// passing says whether the failure may be over at the next try.
func passing(resp *http.Response, err error) bool {
	if err != nil {
		return passingError(err)
	}
	return passingStatus(resp.StatusCode)
}

func passingStatus(code int) bool {
	return slices.Contains([]int{
		http.StatusRequestTimeout,
		http.StatusTooManyRequests,
		http.StatusInternalServerError,
		http.StatusBadGateway,
		http.StatusServiceUnavailable,
		http.StatusGatewayTimeout,
		522, // Cloudflare: the registry behind it did not answer
	}, code)
}

func passingError(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false // but not DeadlineExceeded: net's own timeouts say they are that
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return false
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary
	}
	// net/http has no types for these: HTTP/2's going away, and a connection
	// that the server closed while it was idle.
	text := err.Error()
	return strings.Contains(text, "GOAWAY") || strings.Contains(text, "server closed idle connection") ||
		strings.Contains(text, "http2: client connection lost") || strings.Contains(text, "stream error")
}

func (c *Client) logRequest(req *http.Request, resp *http.Response, err error) {
	if !c.log.Enabled(req.Context(), slog.LevelDebug) {
		return
	}
	c.log.Debug("registry request", "method", req.Method, "url", redact(req.URL), "result", outcome(resp, err))
}

func (c *Client) logRetry(req *http.Request, resp *http.Response, err error, wait time.Duration) {
	c.log.Info("registry: trying again", "method", req.Method, "url", redact(req.URL),
		"after", wait.Round(time.Millisecond), "because", outcome(resp, err))
}

func outcome(resp *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
}
