package gha

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	actionscache "github.com/tonistiigi/go-actions-cache"
)

const (
	service   = "/twirp/github.actions.results.api.v1.CacheService/"
	blockSize = 4 << 20 // bytes in memory, for each of the jobs
)

// upload saves a blob as the second version of the service wants it. The library
// would have Azure's client do it, which sends mapped memory and unmaps it under
// an HTTP client that is still sending, when the storage answers early: the
// process dies of it. Nothing here is sent but memory that is collected.
//
// https://learn.microsoft.com/rest/api/storageservices/put-blob, put-block and put-block-list
func (s *store) upload(ctx context.Context, key string, blob actionscache.Blob) error {
	// All entries of the library, thus of BuildKit, are of one version.
	entry := map[string]any{"key": key, "version": digest.FromString("|go-actionscache-1.0").Encoded()}
	created, err := s.call(ctx, "CreateCacheEntry", entry)
	if err != nil {
		return err
	}
	var list struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}
	for off := int64(0); off < blob.Size(); off += blockSize {
		block := make([]byte, min(blockSize, blob.Size()-off)) // the last may still be on its way
		if n, err := blob.ReadAt(block, off); n < len(block) {
			return fmt.Errorf("GitHub Actions cache: reading what is to be written: %w", cmp.Or(err, io.ErrUnexpectedEOF))
		}
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", len(list.Latest)))
		if err := put(ctx, created.Address, "&comp=block&blockid="+url.QueryEscape(id), block); err != nil {
			return err
		}
		list.Latest = append(list.Latest, id)
	}
	text, err := xml.Marshal(list)
	if err != nil {
		return err
	}
	if err := put(ctx, created.Address, "&comp=blocklist", text); err != nil {
		return err
	}
	entry["size_bytes"] = blob.Size()
	_, err = s.call(ctx, "FinalizeCacheEntryUpload", entry)
	return err
}

// put writes a part of a blob to the storage.
func put(ctx context.Context, address, part string, body []byte) error {
	resp, _, err := send(ctx, http.MethodPut, address+part, body, http.Header{})
	if err != nil {
		return fmt.Errorf("GitHub Actions cache: its storage: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("GitHub Actions cache: its storage answers %d %.80q", resp.StatusCode, resp.Header.Get("x-ms-error-code"))
	}
	return nil
}

type reply struct {
	OK                 bool
	Code, Msg, Message string
	Address            string `json:"signed_upload_url"`
}

// call asks the service. What is there already is os.ErrExist.
func (s *store) call(ctx context.Context, method string, entry map[string]any) (r reply, err error) {
	question, err := json.Marshal(entry)
	if err != nil {
		return r, err
	}
	resp, text, err := send(ctx, http.MethodPost, strings.TrimRight(s.URL, "/")+service+method, question, http.Header{
		"Authorization": {"Bearer " + s.Token.Raw}, "Content-Type": {"application/json"},
	})
	if err != nil {
		return r, fmt.Errorf("GitHub Actions cache: %s: %w", method, err)
	}
	wrong := json.Unmarshal(text, &r) // not all that answers is the service
	said := cmp.Or(r.Msg, r.Message, r.Code)
	switch {
	case wrong == nil && r.OK && resp.StatusCode/100 == 2:
		return r, nil
	case r.Code == "already_exists" || strings.Contains(strings.ToLower(said), "already exists"):
		return r, os.ErrExist
	}
	return r, fmt.Errorf("GitHub Actions cache: %s is answered %d %.200q", method, resp.StatusCode, said)
}
