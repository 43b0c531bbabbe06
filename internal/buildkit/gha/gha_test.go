package gha

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/buildkit/ghatest"
	actionscache "github.com/tonistiigi/go-actions-cache"
)

func TestWhatCannotBeACacheIsRefusedWithoutItsToken(t *testing.T) {
	good := map[string]string{"token": ghatest.Token(`[]`), "url_v2": "http://127.0.0.1:1/"}
	if _, err := open(good); err != nil {
		t.Fatalf("a cache that is well described: %v", err)
	}
	for _, tc := range []struct{ key, value, want string }{
		{"token", "", "it takes attributes token"},
		{"token", "c4n4ry", "token"},
		{"token", ghatest.Token("c4n4ry"), "access controls"},
		{"url_v2", "", "url_v2 or url"},
		{"timeout", "soon", "no duration"},
	} {
		attrs := map[string]string{}
		for k, v := range good {
			attrs[k] = v
		}
		attrs[tc.key] = tc.value
		_, err := open(attrs)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(fmt.Sprintf("%+v", err), "c4n4ry") {
			t.Errorf("%s=%q: error %+v; want %q and no token", tc.key, tc.value, err, tc.want)
		}
	}
}

func TestErrorsShowNoSignature(t *testing.T) {
	const signed = "https://acme.blob.example/c/1?se=2026&sig=c4n4ry"
	for _, cause := range []error{
		&url.Error{Op: "Put", URL: signed, Err: errors.New("connection reset")},
		fmt.Errorf("invalid status response 500 for %s, range: 0", signed),
	} {
		err := quiet(cause)
		if text := fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)); strings.Contains(text, "c4n4ry") || !strings.Contains(text, "acme.blob.example/c/1") {
			t.Errorf("%v is shown as %s", cause, text)
		}
	}
	if err := quiet(actionscache.GithubAPIError{Message: "already exists"}); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v is no longer os.ErrExist", err)
	}
}
