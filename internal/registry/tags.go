package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// tagsPerPage: ECR refuses more.
	// https://github.com/google/go-containerregistry/issues/1091
	tagsPerPage = 1000

	maxPage  = 16 << 20 // bytes of one page: tags have at most 128 characters
	maxPages = 10_000
)

// ErrIncomplete is in the chain of an error of [Client.Tags] when a registry
// has, or may have, more tags than it lists.
var ErrIncomplete = errors.New("the registry's list of tags is not complete")

// Tags returns every tag of repo, in the registry's order. A list that may not
// be whole is an error: retention that took it for the whole would delete what
// the missing tags need.
//
// Registries are met that cut a page without a link to the next. So it is asked
// what comes behind the last tag: nothing, or a further page. The same tags
// again mean that the registry cannot say; then the list counts as whole only
// if the registry links its pages, or has no pages at all. A repository the
// registry does not know is [IsNotFound].
func (c *Client) Tags(ctx context.Context, repo name.Repository) ([]string, error) {
	l := tagList{client: c, target: c.target(repo, Pull), seen: map[string]bool{}, asked: map[string]bool{}}
	query := url.Values{"n": {strconv.Itoa(tagsPerPage)}}.Encode()
	for range maxPages {
		page, next, err := l.page(ctx, query)
		if err != nil {
			return nil, err
		}
		if next == "" {
			return l.finish(ctx, page)
		}
		if l.asked[next] {
			return nil, l.incomplete("its pages go round in a circle")
		}
		if err := l.add(page); err != nil {
			return nil, err
		}
		query = next
	}
	return nil, l.incomplete("it has more than %d pages", maxPages)
}

// tagList collects the pages of one repository.
type tagList struct {
	client *Client
	target target

	tags  []string
	seen  map[string]bool // tags
	asked map[string]bool // queries
	links bool            // some page had a link to the next
}

// finish takes the last page and looks behind it.
func (l *tagList) finish(ctx context.Context, page []string) ([]string, error) {
	for range maxPages {
		if err := l.add(page); err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return l.tags, nil
		}
		query := url.Values{"n": {strconv.Itoa(tagsPerPage)}, "last": {page[len(page)-1]}}.Encode()
		behind, _, err := l.page(ctx, query)
		switch {
		case IsNotFound(err):
			return l.tags, nil // zot: nothing behind the end
		case err != nil:
			return nil, err
		case len(behind) > 0 && l.seen[behind[0]] && l.links:
			return l.tags, nil // Quay: it goes by the token in its links, not by "last"
		case slices.Equal(behind, l.tags):
			return l.unpaged(ctx)
		}
		page = behind
	}
	return nil, l.incomplete("it has more than %d pages", maxPages)
}

// unpaged decides on a registry that gave one page without a link, and gives it
// again when asked to go on. Asked for a single tag, one that has no pages, as
// distribution before version 3, gives everything, and one that links its pages
// shows a link. One that cuts and does neither may have left something out.
func (l *tagList) unpaged(ctx context.Context) ([]string, error) {
	if len(l.tags) == 1 {
		return l.tags, nil // asked for a thousand, it would not stop at one
	}
	again, _, err := l.page(ctx, "n=1")
	if err != nil {
		return nil, err
	}
	if !l.links && !slices.Equal(again, l.tags) {
		return nil, l.incomplete("it cuts the list and cannot continue it")
	}
	return l.tags, nil
}

func (l *tagList) add(page []string) error {
	for _, tag := range page {
		if l.seen[tag] {
			return l.incomplete("%q is listed twice", printable(tag, 140))
		}
		l.seen[tag] = true
	}
	l.tags = append(l.tags, page...)
	return nil
}

func (l *tagList) incomplete(format string, args ...any) error {
	return &Error{Method: http.MethodGet, URL: l.client.url(l.target, "tags", "list"), Registry: l.target.host(),
		cause: fmt.Errorf("%w: %s", ErrIncomplete, fmt.Sprintf(format, args...)),
		hint:  "nothing is concluded from a part of the tags; ask the registry's administrator"}
}

// page asks for one page and returns the query of the next, "" at the end.
func (l *tagList) page(ctx context.Context, query string) (tags []string, next string, err error) {
	address := l.client.url(l.target, "tags", "list")
	l.asked[query] = true
	resp, err := l.client.get(ctx, l.target, http.MethodGet, address+"?"+query, nil)
	if err != nil {
		return nil, "", err
	}
	if err := l.client.expect(resp, http.StatusOK); err != nil {
		return nil, "", err
	}
	defer discard(resp)
	var answer struct {
		Tags []string `json:"tags"` // null where there are none
	}
	if err := decode(resp, maxPage, &answer); err != nil {
		return nil, "", l.incomplete("%v", err)
	}
	next, err = nextPage(resp, address)
	if err != nil {
		return nil, "", l.incomplete("%v", err)
	}
	l.links = l.links || next != ""
	return answer.Tags, next, nil
}

// nextPage returns the query of the answer's link to the next page. Only the
// query of it is used, and only when it is the same list's.
func nextPage(resp *http.Response, address string) (string, error) {
	for _, header := range resp.Header.Values("Link") {
		for _, link := range strings.Split(header, ",") {
			target, parameters, ok := strings.Cut(strings.TrimSpace(link), ">")
			rel := strings.ReplaceAll(strings.ToLower(parameters), " ", "")
			if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(rel, `rel="next"`) && !strings.Contains(rel, "rel=next") {
				continue
			}
			base, err := url.Parse(address)
			if err != nil {
				return "", err
			}
			u, err := base.Parse(target[1:])
			if err != nil {
				return "", errors.New("its link to the next page is no address")
			}
			if u.Host != base.Host || u.Path != base.Path {
				return "", fmt.Errorf("its link to the next page goes to %s", printable(redact(u), 200))
			}
			return u.RawQuery, nil
		}
	}
	return "", nil
}

// decode reads a JSON answer of at most limit bytes.
func decode(resp *http.Response, limit int64, into any) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(body)) > limit {
		return fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("the answer is not the JSON it should be")
	}
	return nil
}
