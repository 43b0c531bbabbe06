// Package ghatest is GitHub's cache service for tests: the second version of
// its API, and the blob storage behind it, on loopback.
//
// The API is described by its client, https://github.com/actions/toolkit/tree/main/packages/cache,
// the storage by https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api.
package ghatest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// Signature is in every address that the service hands out. Nobody else may
	// see it.
	Signature = "s1gnature-of-the-storage"

	maxBody = 64 << 20 // bytes
)

// Server is the service.
type Server struct {
	URL   string // what the runner gives as ACTIONS_RESULTS_URL
	Token string // and as ACTIONS_RUNTIME_TOKEN

	mu      sync.Mutex
	entries []*entry // the oldest first
	before  func(http.ResponseWriter, *http.Request) bool
}

type entry struct {
	key      string
	content  []byte
	blocks   map[string][]byte // not yet in content
	finished bool
}

// Start starts a service with one branch, which its token may read and write. It
// ends with the test.
func Start(t testing.TB) *Server {
	s := &Server{Token: Token(`[{"Scope":"refs/heads/main","Permission":3}]`)}
	mux := http.NewServeMux()
	const api = "POST /twirp/github.actions.results.api.v1.CacheService/"
	mux.HandleFunc(api+"CreateCacheEntry", s.create)
	mux.HandleFunc(api+"FinalizeCacheEntryUpload", s.finish)
	mux.HandleFunc(api+"GetCacheEntryDownloadURL", s.find)
	mux.HandleFunc("PUT /storage/{id}", s.write)
	mux.HandleFunc("GET /storage/{id}", s.read)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.before != nil && s.before(w, r) {
			return
		}
		if !s.known(r) {
			http.Error(w, `{"code":"unauthenticated","message":"who are you?"}`, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL + "/"
	return s
}

// Token is a token of a job that may do what access says, for an hour.
func Token(access string) string {
	claims, _ := json.Marshal(map[string]any{
		"ac": access, "nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims) + "." + encode([]byte("t0ken"))
}

// Before has f look at every request first; it answers those for which it
// returns true. One runs at a time.
func (s *Server) Before(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Keys are those of all entries, the oldest first.
func (s *Server) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, e := range s.entries {
		keys = append(keys, e.key)
	}
	return keys
}

func (s *Server) known(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/storage/") {
		return r.URL.Query().Get("sig") == Signature
	}
	return r.Header.Get("Authorization") == "Bearer "+s.Token
}

func (s *Server) address(id int) string {
	return fmt.Sprintf("%sstorage/%d?sig=%s", s.URL, id, Signature)
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	key := request(w, r).Key
	if slices.ContainsFunc(s.entries, func(e *entry) bool { return e.key == key }) {
		w.WriteHeader(http.StatusConflict)
		answer(w, map[string]any{"code": "already_exists", "message": "cache entry already exists"})
		return
	}
	s.entries = append(s.entries, &entry{key: key, blocks: map[string][]byte{}})
	answer(w, map[string]any{"ok": true, "signed_upload_url": s.address(len(s.entries) - 1)})
}

func (s *Server) finish(w http.ResponseWriter, r *http.Request) {
	asked := request(w, r)
	for i, e := range s.entries {
		if e.key == asked.Key && int64(len(e.content)) == asked.Size {
			e.finished = true
			answer(w, map[string]any{"ok": true, "entry_id": strconv.Itoa(i)})
			return
		}
	}
	answer(w, map[string]any{"ok": false, "message": "no such upload, or of another size"})
}

// find looks for an entry of a key, then for the newest that begins with one.
func (s *Server) find(w http.ResponseWriter, r *http.Request) {
	asked := request(w, r)
	for n, key := range append([]string{asked.Key}, asked.RestoreKeys...) {
		for i, e := range slices.Backward(s.entries) {
			if e.finished && (e.key == key || n > 0 && strings.HasPrefix(e.key, key)) {
				answer(w, map[string]any{"ok": true, "matched_key": e.key, "signed_download_url": s.address(i)})
				return
			}
		}
	}
	answer(w, map[string]any{"ok": false})
}

type question struct {
	Key         string   `json:"key"`
	RestoreKeys []string `json:"restore_keys"`
	Size        int64    `json:"size_bytes"`
}

func request(w http.ResponseWriter, r *http.Request) (q question) {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return q
}

func answer(w http.ResponseWriter, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// write takes a blob at once, a block of one, or the list of its blocks.
func (s *Server) write(w http.ResponseWriter, r *http.Request) {
	e := s.entry(w, r)
	if e == nil {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch query := r.URL.Query(); query.Get("comp") {
	case "":
		e.content = body
	case "block":
		e.blocks[query.Get("blockid")] = body
	case "blocklist":
		var list struct {
			Latest []string
		}
		if err := xml.Unmarshal(body, &list); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		e.content = nil
		for _, id := range list.Latest {
			e.content = append(e.content, e.blocks[id]...)
		}
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) read(w http.ResponseWriter, r *http.Request) {
	e := s.entry(w, r)
	if e == nil {
		return
	}
	if part := r.Header.Get("x-ms-range"); part != "" {
		r.Header.Set("Range", part)
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(e.content)))
}

func (s *Server) entry(w http.ResponseWriter, r *http.Request) *entry {
	w.Header().Set("x-ms-request-id", "1") // the client of Azure expects one
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || id < 0 || id >= len(s.entries) {
		http.NotFound(w, r)
		return nil
	}
	return s.entries[id]
}
