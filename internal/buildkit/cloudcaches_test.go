//go:build caches

package buildkit

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
	"github.com/moby/buildkit/client"
)

// bucket is the part of S3 that a cache of small layers uses.
func bucket(t *testing.T) http.HandlerFunc {
	var mu sync.Mutex
	objects := map[string][]byte{}
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=id/") {
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
			return
		}
		switch r.Method {
		case http.MethodPut:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if from := r.Header.Get("X-Amz-Copy-Source"); from != "" {
				body = objects["/"+from]
			}
			objects[r.URL.Path] = body
			w.Header().Set("ETag", `"1"`)
		default:
			object, ok := objects[r.URL.Path]
			if !ok {
				w.WriteHeader(http.StatusNotFound)
				io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
				return
			}
			http.ServeContent(w, r, "", time.Now(), bytes.NewReader(object))
		}
	}
}

func TestACacheInS3OutlivesTheState(t *testing.T) {
	server := registrytest.Fake(t, bucket(t))
	dir := buildContext(t, "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sh\", \"-c\", \"/busybox date > /made\"]\n", nil)
	entry := func(mode string) []client.CacheOptionsEntry {
		return []client.CacheOptionsEntry{{Type: "s3", Attrs: map[string]string{
			"bucket": "b", "region": "eu-1", "endpoint_url": "http://" + server.Host, "use_path_style": "true",
			"access_key_id": "id", "secret_access_key": "s3cret", "mode": mode,
		}}}
	}
	var first solved
	for n := range 2 {
		e := start(t, options(t, t.TempDir()))
		s := mustSolve(t, e, dir, func(o *client.SolveOpt) { o.CacheImports, o.CacheExports = entry(""), entry("max") })
		stop(t, e)
		if n == 0 {
			first = s
		} else if s.ranRUN() || s.root.Digest != first.root.Digest {
			t.Errorf("the second build ran %q and made %s; want nothing, and %s", s.ran, s.root.Digest, first.root.Digest)
		}
	}
}
