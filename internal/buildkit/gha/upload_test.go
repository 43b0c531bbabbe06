package gha

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/buildkit/ghatest"
	actionscache "github.com/tonistiigi/go-actions-cache"
)

func opened(t *testing.T, github *ghatest.Server) *store {
	t.Helper()
	s, err := open(map[string]string{"token": github.Token, "url_v2": github.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsSavedIsLoadedWhateverItsSize(t *testing.T) {
	s := opened(t, ghatest.Start(t))
	for name, size := range map[string]int{"nothing": 0, "byte": 1, "block": blockSize, "blocks": 2*blockSize + 1} {
		saved := make([]byte, size)
		rand.Read(saved)
		if err := s.save(t.Context(), name, actionscache.NewBlob(saved)); err != nil {
			t.Errorf("%s: saving: %v", name, err)
			continue
		}
		entry, err := s.load(t.Context(), name)
		if err != nil || entry == nil {
			t.Errorf("%s: loading: entry %v, error %v", name, entry, err)
			continue
		}
		var loaded bytes.Buffer
		if err := entry.WriteTo(t.Context(), &loaded); size > 0 && err != nil || !bytes.Equal(loaded.Bytes(), saved) {
			t.Errorf("%s: %d bytes of %d come back, or others; error %v", name, loaded.Len(), size, err)
		}
	}
	if err := s.save(t.Context(), "byte", actionscache.NewBlob([]byte("2"))); !errors.Is(err, os.ErrExist) {
		t.Errorf("saving what is there ends with %v; want os.ErrExist", err)
	}
}

func TestASaveIsTriedAgainOnlyWhereThatCanHelp(t *testing.T) {
	refuse := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, `{"code":"c0de","msg":"n0\n"}`, status) }
	}
	hangUp := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	for _, tc := range []struct {
		name, path string
		first      func(http.ResponseWriter) // answers the first request to path, before its body is read
		want       string                    // in the error
	}{
		{"throttled service", "CreateCacheEntry", refuse(http.StatusTooManyRequests), ""},
		{"throttled end", "FinalizeCacheEntryUpload", refuse(http.StatusTooManyRequests), ""},
		{"throttled storage", "/storage/", refuse(http.StatusTooManyRequests), ""},
		{"broken storage", "/storage/", refuse(http.StatusServiceUnavailable), ""},
		{"storage that hangs up", "/storage/", hangUp, ""},
		{"storage that refuses", "/storage/", refuse(http.StatusForbidden), "its storage answers 403"},
		{"broken service", "CreateCacheEntry", refuse(http.StatusInternalServerError), `CreateCacheEntry is answered 500 "n0\n"`},
		{"service that hangs up", "CreateCacheEntry", hangUp, "CreateCacheEntry: EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // they wait
			github := ghatest.Start(t)
			seen := false
			github.Before(func(w http.ResponseWriter, r *http.Request) bool {
				if seen || !strings.Contains(r.URL.Path, tc.path) {
					return false
				}
				seen = true
				tc.first(w)
				return true
			})
			err := opened(t, github).save(t.Context(), "k3y", actionscache.NewBlob(make([]byte, blockSize)))
			if !seen {
				t.Errorf("nothing was sent to %s", tc.path)
			}
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("it ends with %v; want it tried again", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("it ends with %v; want an error with %q", err, tc.want)
			case err != nil && (strings.Contains(err.Error(), ghatest.Signature) || strings.Contains(err.Error(), "127.0.0.1")):
				t.Errorf("an address is shown: %v", err)
			}
		})
	}
}

// gone is a blob whose memory is only there until it is closed.
type gone struct {
	*bytes.Reader
	closed bool
}

// Close implements io.Closer.
func (g *gone) Close() error { g.closed = true; return nil }

// ReadAt implements io.ReaderAt.
func (g *gone) ReadAt(p []byte, off int64) (int, error) {
	if g.closed {
		panic("read after it was closed")
	}
	return g.Reader.ReadAt(p, off)
}

func TestABlobIsReadNoMoreOnceItsSaveEnded(t *testing.T) {
	github := ghatest.Start(t)
	github.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		io.ReadFull(r.Body, make([]byte, 1)) // the rest is still being sent
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	s := opened(t, github)
	for n := range 20 {
		blob := &gone{Reader: bytes.NewReader(make([]byte, 2*blockSize))}
		if err := s.save(t.Context(), strings.Repeat("k", n+1), blob); err == nil {
			t.Fatal("what the storage refused is saved")
		}
		blob.Close()
	}
}

func TestTheTimeOfACacheIsWhatASlowOneRunsOutOf(t *testing.T) {
	ours := errors.New("not written in time")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, ours)
	defer cancel()
	end, _ := ctx.Deadline()
	for time.Now().Before(end) { // not until ctx.Done(): others may be sooner
	}
	if err := late(ctx, errors.New("maximum timeout reached")); err != ours {
		t.Errorf("it ends with %v, want %v", err, ours)
	}
	if err := late(t.Context(), ours); err != ours {
		t.Errorf("what fails in time ends with %v, want %v", err, ours)
	}
	if err := late(ctx, nil); err != nil {
		t.Errorf("what ended well ends with %v", err)
	}
}
