package buildkit

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/buildkit/ghatest"
	"github.com/moby/buildkit/client"
)

// large makes a layer of a few megabytes.
const large = `FROM scratch AS make
COPY busybox /busybox
RUN ["/busybox", "dd", "if=/dev/urandom", "of=/noise", "bs=1M", "count=3"]
FROM scratch
COPY busybox /bin/busybox
COPY --from=make /noise /noise
RUN ["/bin/busybox", "touch", "/done"]
`

// inGitHub has a build read and write the cache of s.
func inGitHub(s *ghatest.Server, more map[string]string) func(*client.SolveOpt) {
	return func(o *client.SolveOpt) {
		entry := func() []client.CacheOptionsEntry {
			attrs := map[string]string{"token": s.Token, "url_v2": s.URL, "scope": "app", "mode": "max"}
			maps.Copy(attrs, more)
			return []client.CacheOptionsEntry{{Type: "gha", Attrs: attrs}}
		}
		o.CacheImports, o.CacheExports = entry(), entry()
	}
}

func TestGitHubsCacheOutlivesTheState(t *testing.T) {
	github := ghatest.Start(t)
	dir := buildContext(t, large, nil)
	var first solved
	for n := range 3 {
		e := start(t, options(t, t.TempDir()))
		s := mustSolve(t, e, dir, inGitHub(github, nil))
		stop(t, e)
		if n == 0 {
			first = s
			continue
		}
		if s.ranRUN() {
			t.Errorf("build %d: steps ran that were in the cache: %q", n+1, s.ran)
		}
		if s.root.Digest != first.root.Digest { // there is noise in it
			t.Errorf("build %d: digest %s, want %s", n+1, s.root.Digest, first.root.Digest)
		}
	}
	var indexes, blobs []string
	for _, key := range github.Keys() {
		if strings.HasPrefix(key, "index-app-1-") {
			indexes = append(indexes, key)
		} else {
			blobs = append(blobs, key)
		}
	}
	if len(indexes) != 3 || !strings.HasSuffix(indexes[2], "#3") {
		t.Errorf("indexes %q; want three versions of one", indexes)
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(blobs))); len(blobs) == 0 || len(unique) != len(blobs) {
		t.Errorf("layers %q; want each once", blobs)
	}
}

func TestATroubledCacheOfGitHubFailsNoBuildThatIgnoresIt(t *testing.T) {
	github := ghatest.Start(t)
	dir := buildContext(t, large, nil)
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	for _, tc := range []struct {
		name   string
		before func(http.ResponseWriter, *http.Request) bool
		more   map[string]string
		want   string // in the error or the log
	}{
		{"throttled", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, `{"code":"resource_exhausted","message":"slow down"}`, http.StatusTooManyRequests)
			return true
		}, map[string]string{"timeout": "200ms"}, "within 200ms"},
		{"the storage hangs up", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			panic(http.ErrAbortHandler)
		}, map[string]string{"timeout": "500ms"}, "within 500ms"},
		{"the storage says no", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				http.Error(w, "no", http.StatusForbidden)
			}
			return r.Method == http.MethodPut
		}, nil, "403"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			github.Before(tc.before)
			defer github.Before(nil)
			strict := solve(t, e, dir, inGitHub(github, tc.more))
			if strict.err == nil || !strings.Contains(strict.err.Error(), tc.want) {
				t.Errorf("the build ends with %v; want an error with %q", strict.err, tc.want)
			}
			lenient := map[string]string{"ignore-error": "true"}
			maps.Copy(lenient, tc.more)
			s := solve(t, e, dir, inGitHub(github, lenient))
			if s.err != nil {
				t.Errorf("with ignore-error the build ends with %v", s.err)
			}
			for _, secret := range []string{ghatest.Signature, github.Token} {
				if strings.Contains(strict.err.Error()+strict.log+s.log, secret) {
					t.Errorf("a secret is shown:\n%v\n%s%s", strict.err, strict.log, s.log)
				}
			}
		})
	}
}
