package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

// pages is a registry's list of tags, with its habits.
type pages struct {
	tags                            []string
	cap                             int  // its own limit; 0 is none
	ignoresN, ignoresLast, restarts bool // habits
	links, opaque, loops, elsewhere bool // what kind of links
	pastEndIs404                    bool
}

func (p pages) serve(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if p.ignoresN || n == 0 {
		n = len(p.tags)
	}
	if p.cap > 0 {
		n = min(n, p.cap)
	}
	start := 0
	if last := r.URL.Query().Get("last"); last != "" && !p.ignoresLast {
		start = slices.Index(p.tags, last) + 1
	}
	if token := r.URL.Query().Get("token"); token != "" {
		start, _ = strconv.Atoi(token)
	}
	if start >= len(p.tags) {
		if p.pastEndIs404 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if p.restarts {
			start = 0
		}
	}
	end := min(start+n, len(p.tags))
	page := p.tags[start:end]
	switch {
	case p.loops:
		w.Header().Set("Link", `</v2/app/tags/list?n=1000>; rel="next"`)
	case p.elsewhere && end < len(p.tags):
		w.Header().Set("Link", `<http://169.254.169.254/v2/app/tags/list?n=1>; rel="next"`)
	case p.opaque && end < len(p.tags):
		w.Header().Set("Link", fmt.Sprintf(`</v2/app/tags/list?n=%d&token=%d>; rel="next"`, n, end))
	case p.links && end < len(p.tags):
		w.Header().Set("Link", fmt.Sprintf(`</v2/app/tags/list?n=%d&last=%s>; rel="next"`, n, page[len(page)-1]))
	}
	json.NewEncoder(w).Encode(map[string]any{"name": "app", "tags": page})
}

func TestEveryTagOrAnError(t *testing.T) {
	many := make([]string, 2500)
	for i := range many {
		many[i] = fmt.Sprintf("v1.0.%04d", i)
	}
	for _, tc := range []struct {
		name  string
		pages pages
		whole bool
	}{
		{"none", pages{}, true},
		{"linked pages", pages{tags: many, links: true}, true},
		{"linked pages, past the end is 404", pages{tags: many, links: true, pastEndIs404: true}, true},
		{"linked pages smaller than asked for", pages{tags: many[:250], cap: 100, links: true}, true},
		{"links with tokens, last is ignored (Quay)", pages{tags: many[:250], cap: 100, opaque: true, ignoresLast: true}, true},
		{"one page of a registry that links with tokens", pages{tags: many[:30], opaque: true, ignoresLast: true}, true},
		{"cut without a link, last works", pages{tags: many[:250], cap: 100}, true},
		{"no pages at all (distribution 2)", pages{tags: many, ignoresN: true, ignoresLast: true}, true},
		{"one tag, no pages", pages{tags: many[:1], ignoresN: true, ignoresLast: true}, true},
		{"cut without a link, last restarts the list", pages{tags: many[:30], restarts: true}, false},
		{"cut without a link, last is ignored", pages{tags: many[:250], cap: 100, ignoresLast: true}, false},
		{"the link goes to itself", pages{tags: many[:5], loops: true}, false},
		{"the link goes to another host", pages{tags: many, elsewhere: true}, false},
		{"a tag twice", pages{tags: []string{"a", "b", "a"}, ignoresN: true, ignoresLast: true}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := registrytest.Fake(t, tc.pages.serve)
			c, _ := newClient(t, Options{})
			got, err := c.Tags(t.Context(), repository(t, c, s.Host+"/app"))
			switch {
			case tc.whole && (err != nil || !slices.Equal(got, tc.pages.tags)):
				t.Errorf("%d tags of %d, %v", len(got), len(tc.pages.tags), err)
			case !tc.whole && !errors.Is(err, ErrIncomplete):
				t.Errorf("%d tags of %d, %v; want ErrIncomplete", len(got), len(tc.pages.tags), err)
			}
		})
	}
}

func TestAnAnswerThatIsNoListIsNoEmptyList(t *testing.T) {
	for _, answer := range []string{"", "<html>login</html>", `{"tags":"v1"}`} {
		s := registrytest.Fake(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) })
		c, _ := newClient(t, Options{})
		repo := repository(t, c, s.Host+"/app")
		if tags, err := c.Tags(t.Context(), repo); err == nil {
			t.Errorf("%q gave the tags %v", answer, tags)
		}
		if list, err := c.Referrers(t.Context(), repo.Digest(sum(nil).String())); err == nil {
			t.Errorf("%q gave the referrers %v", answer, list)
		}
	}
}

func index(t *testing.T, digests ...v1.Hash) []byte {
	t.Helper()
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, d := range digests {
		m.Manifests = append(m.Manifests, v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 3, Digest: d})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestReferrersComeFromTheAPIOrTheFallbackTag(t *testing.T) {
	subject, a, b := sum([]byte("subject")), sum([]byte("a")), sum([]byte("b"))
	manifest := func(w http.ResponseWriter, raw []byte) {
		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		w.Write(raw)
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    []v1.Hash
		fails   bool
	}{
		{"the API, in pages", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") == "" {
				w.Header().Set("Link", "<"+r.URL.Path+`?page=2>; rel="next"`)
				manifest(w, index(t, a))
				return
			}
			manifest(w, index(t, b, a))
		}, []v1.Hash{a, b}, false},
		{"no API, a tag", func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/manifests/sha256-"+subject.Hex) {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			manifest(w, index(t, b))
		}, []v1.Hash{b}, false},
		{"neither", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }, nil, false},
		{"no right to look", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil, true},
		{"the tag cannot be read", func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			io.WriteString(w, "{")
		}, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := registrytest.Fake(t, tc.handler)
			c, _ := newClient(t, Options{})
			got, err := c.Referrers(t.Context(), repository(t, c, s.Host+"/app").Digest(subject.String()))
			var digests []v1.Hash
			for _, d := range got {
				digests = append(digests, d.Digest)
			}
			if (err != nil) != tc.fails || !slices.Equal(digests, tc.want) {
				t.Errorf("Referrers = %v, %v; want %v, an error: %v", digests, err, tc.want, tc.fails)
			}
		})
	}
}
