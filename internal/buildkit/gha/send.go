package gha

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/moby/buildkit/version"
)

const (
	maxAnswer = 32 << 10 // bytes
	maxDelay  = 90 * time.Second
)

// send sends a request until it is answered, or ctx ends. Only what is put is
// sent again after a failure: an entry is created once.
func send(ctx context.Context, method, address string, body []byte, header http.Header) (*http.Response, []byte, error) {
	header.Set("User-Agent", version.UserAgent())
	for delay := time.Second; ; delay = min(2*delay, maxDelay) {
		// A body of its own: the last one may still be read.
		req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
		if err != nil {
			return nil, nil, bare(err)
		}
		req.Header = header
		resp, text, err := once(req)
		failed := method == http.MethodPut && (err != nil || resp.StatusCode >= 500)
		if !failed && (err != nil || resp.StatusCode != http.StatusTooManyRequests) {
			return resp, text, err
		}
		if resp != nil {
			seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			delay = max(delay, time.Duration(min(seconds, int(maxDelay/time.Second)))*time.Second)
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(delay):
		}
	}
}

// once isn't traced: addresses of the storage are secret.
func once(req *http.Request) (*http.Response, []byte, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, bare(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, err
	}
	return resp, text, nil
}

// bare is err without the address.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
