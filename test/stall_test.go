package test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// stallingProxy passes requests on to a registry, but for one kind: that gets
// no answer.
type stallingProxy struct {
	addr string

	mu      sync.Mutex
	matches func(*http.Request) bool
	stalled chan struct{} // closed when a request is held
	release chan struct{} // closed when it may go
}

func newStallingProxy(t *testing.T, registry string) *stallingProxy {
	t.Helper()
	p := &stallingProxy{release: make(chan struct{})}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: registry})
			r.Out.Host = r.In.Host // for the addresses in the registry's answers
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { // the client is gone
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.hold(r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { p.stall(nil) }) // before Close, which waits for requests
	p.addr = strings.TrimPrefix(server.URL, "http://")
	return p
}

// stall sets which requests get no answer from now on, and ends those that are
// held; nil is none.
func (p *stallingProxy) stall(matches func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.release)
	p.matches, p.stalled, p.release = matches, make(chan struct{}), make(chan struct{})
}

// hold holds a request that is to be, and tells when it is over.
func (p *stallingProxy) hold(r *http.Request) bool {
	p.mu.Lock()
	if p.matches == nil || !p.matches(r) {
		p.mu.Unlock()
		return false
	}
	select {
	case <-p.stalled:
	default:
		close(p.stalled)
	}
	release := p.release
	p.mu.Unlock()
	<-release
	return true
}

// watchedBuffer keeps what is written, for others to read meanwhile.
type watchedBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wait  string
	found chan struct{}
}

func (b *watchedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.text.Write(p)
	b.look()
	return n, err
}

// has returns a channel that is closed when text is there.
func (b *watchedBuffer) has(text string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wait, b.found = text, make(chan struct{})
	b.look()
	return b.found
}

func (b *watchedBuffer) look() {
	if b.found != nil && b.wait != "" && strings.Contains(b.text.String(), b.wait) {
		close(b.found)
		b.wait = ""
	}
}

func (b *watchedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
