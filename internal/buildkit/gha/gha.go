// Package gha keeps BuildKit's cache in the cache of GitHub Actions. It reads
// and writes what BuildKit's own package of that name does, so that a cache of
// docker/build-push-action serves here, and the other way round. That package
// also signs caches, for which nothing here asks, and brings 4 MB of sigstore
// for it.
//
// https://github.com/moby/buildkit/tree/v0.34.2/cache/remotecache/gha
package gha

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/moby/buildkit/util/tracing"
	bkversion "github.com/moby/buildkit/version"
	"github.com/opencontainers/go-digest"
	actionscache "github.com/tonistiigi/go-actions-cache"
)

const (
	// defaultTimeout bounds the reading of an index and the writing of a cache, when
	// attribute timeout doesn't. A throttled client would wait silently.
	// https://github.com/moby/buildkit/issues/2804
	defaultTimeout = 10 * time.Minute

	defaultScope = "buildkit" // as in BuildKit: what others wrote is found

	maxError = 500 // bytes of what the service says went wrong

	jobs = 4 // requests at once: more are throttled
)

// store is the part of GitHub's cache that one build uses.
type store struct {
	*actionscache.Cache
	scope   string // of the index: caches of one repository differ in it
	timeout time.Duration
}

// open reads the attributes of a cache entry: scope, token, url_v2 or url,
// version and timeout.
func open(attrs map[string]string) (*store, error) {
	s := &store{scope: cmp.Or(attrs["scope"], defaultScope), timeout: defaultTimeout}
	var err error
	if text := attrs["timeout"]; text != "" {
		if s.timeout, err = time.ParseDuration(text); err != nil {
			return nil, errors.New("GitHub Actions cache: attribute timeout is no duration")
		}
	}
	address, second := attrs["url_v2"], true
	if address == "" || attrs["version"] == "1" {
		address, second = attrs["url"], false
	}
	if address == "" || attrs["token"] == "" {
		return nil, errors.New("GitHub Actions cache: it takes attributes token and url_v2 or url")
	}
	s.Cache, err = actionscache.New(attrs["token"], address, second, actionscache.Opt{
		Client:    &http.Client{Transport: tracing.NewTransport(http.DefaultTransport)},
		Timeout:   s.timeout,
		UserAgent: bkversion.UserAgent(),
	})
	if err != nil {
		return nil, fmt.Errorf("GitHub Actions cache: %w", quiet(err))
	}
	return s, nil
}

// indexKey is the name of the index for a scope of the token, which is a branch.
func (s *store) indexKey(branch string) string {
	return "index-" + s.scope + "-1-" + digest.FromString(branch).Encoded()[:8]
}

// blobKey is the name of a layer.
func blobKey(blob digest.Digest) string { return "buildkit-blob-1-" + blob.String() }

// load returns entry key, nil when there is none.
func (s *store) load(ctx context.Context, key string) (*actionscache.Entry, error) {
	entry, err := s.Load(ctx, key)
	return entry, quiet(err)
}

// save writes entry key, unless it is there or somebody else is writing it.
func (s *store) save(ctx context.Context, key string, blob actionscache.Blob) error {
	if s.IsV2 {
		return quiet(s.upload(ctx, key, blob))
	}
	return quiet(s.Save(ctx, key, blob))
}

// number is what follows key and "#" in the name of an index's latest version,
// or 0. Entries cannot be overwritten, so each version has a number.
func (s *store) number(ctx context.Context, key string) (int, error) {
	entry, err := s.load(ctx, key+"#")
	if err != nil || entry == nil {
		return 0, err
	}
	if len(entry.Key) <= len(key) {
		return 0, fmt.Errorf("GitHub Actions cache: it answered %s with another entry", key)
	}
	n, err := strconv.Atoi(entry.Key[len(key)+1:])
	if err != nil {
		return 0, fmt.Errorf("GitHub Actions cache: it answered %s with another entry", key)
	}
	return n, nil
}

// late is err, or why ctx ended when its time is up. What else was bounded by that
// time may have noticed it before ctx did.
func late(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// quiet is err without the signatures that addresses carry: whoever reads a log
// could use the cache with them. Errors of a context, and os.ErrExist, stay what
// they are.
func quiet(err error) error {
	if err == nil {
		return nil
	}
	text := regexp.MustCompile(`\?[^\s"']+`).ReplaceAllString(err.Error(), "")
	return &quietError{text[:min(len(text), maxError)], err}
}

type quietError struct {
	text  string
	cause error
}

// Error implements error.
func (e *quietError) Error() string { return e.text }

// Is looks at the cause, which itself stays out of sight: a format verb such as
// %+v would print it.
func (e *quietError) Is(target error) bool { return errors.Is(e.cause, target) }
