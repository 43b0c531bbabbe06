package registry

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxReferrerPages bounds the pages of one manifest's referrers.
const maxReferrerPages = 1000

// Referrers returns the manifests whose subject is ref: from the registry's
// referrers API, or, where it has none, from the tag that clients keep
// instead. None is an empty list; a registry that cannot answer is an error.
//
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
func (c *Client) Referrers(ctx context.Context, ref name.Digest) ([]v1.Descriptor, error) {
	t := c.target(ref.Context(), Pull)
	address := c.url(t, "referrers", ref.DigestStr())
	var all []v1.Descriptor
	query := ""
	for page := range maxReferrerPages {
		url := address
		if query != "" {
			url += "?" + query
		}
		resp, err := c.get(ctx, t, http.MethodGet, url, acceptManifests())
		if err != nil {
			return nil, err
		}
		err = c.expect(resp, http.StatusOK)
		if page == 0 && lacksReferrers(err) {
			return c.fallbackReferrers(ctx, ref)
		}
		if err != nil {
			return nil, err
		}
		some, next, err := readReferrers(resp, address)
		if err != nil {
			return nil, &Error{Method: http.MethodGet, URL: address, Registry: t.host(), cause: err}
		}
		if all = append(all, some...); next == "" {
			return unique(all), nil
		}
		if next == query {
			break
		}
		query = next
	}
	return nil, mismatch(http.MethodGet, address, "the list of referrers does not end")
}

func readReferrers(resp *http.Response, address string) ([]v1.Descriptor, string, error) {
	defer discard(resp)
	var index v1.IndexManifest
	if err := decode(resp, MaxManifest, &index); err != nil {
		return nil, "", err
	}
	if !mediaType(resp).IsIndex() && !index.MediaType.IsIndex() {
		// Something that answers every address with 200.
		return nil, "", fmt.Errorf("the answer is %q and not a list of referrers", printable(string(mediaType(resp)), 100))
	}
	next, err := nextPage(resp, address)
	return index.Manifests, next, err
}

// lacksReferrers recognises a registry without the API. The specification has
// 404; older registries take the address for something else that is wrong.
func lacksReferrers(err error) bool {
	return slices.Contains([]int{
		http.StatusNotFound,
		http.StatusBadRequest,
		http.StatusMethodNotAllowed,
		http.StatusNotAcceptable,
		http.StatusNotImplemented,
	}, Status(err)) && !isToken(err)
}

// fallbackReferrers reads the index under the tag sha256-<hex>.
func (c *Client) fallbackReferrers(ctx context.Context, ref name.Digest) ([]v1.Descriptor, error) {
	tag := ref.Context().Tag(strings.Replace(ref.DigestStr(), ":", "-", 1))
	m, err := c.Manifest(ctx, tag)
	if IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(m.Raw))
	if err != nil || !m.Descriptor.MediaType.IsIndex() {
		return nil, &Error{Registry: ref.RegistryStr(), cause: fmt.Errorf("%s should list referrers and is no image index", tag)}
	}
	return unique(index.Manifests), nil
}

func unique(all []v1.Descriptor) []v1.Descriptor {
	seen := map[v1.Hash]bool{}
	return slices.DeleteFunc(all, func(d v1.Descriptor) bool {
		again := seen[d.Digest]
		seen[d.Digest] = true
		return again
	})
}
