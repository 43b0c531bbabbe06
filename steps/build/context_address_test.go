package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAddressesWithoutTheirCredentials(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, tc := range []struct {
		name, value string
		want        address
		facts       facts
	}{
		{"repository with ref and directory", "https://example.org/acme/app.git#v1:deploy",
			address{URL: "https://example.org/acme/app.git#v1:deploy", Host: "example.org", Git: true}, facts{Repository: "https://example.org/acme/app"}},
		{"repository at a commit", "https://example.org/acme/app.git#" + commit,
			address{URL: "https://example.org/acme/app.git#" + commit, Host: "example.org", Git: true}, facts{Repository: "https://example.org/acme/app", Revision: commit}},
		{"repository at a branch, as a query", "https://example.org/app.git?branch=main&subdir=a",
			address{URL: "https://example.org/app.git?branch=main&subdir=a", Host: "example.org", Git: true}, facts{Repository: "https://example.org/app", Ref: "refs/heads/main"}},
		{"token and user in a repository's", "https://me:t0k3n@example.org:8443/app.git",
			address{URL: "https://example.org:8443/app.git", Host: "example.org:8443", Git: true,
				Secrets: map[string][]byte{"GIT_AUTH_HEADER.example.org:8443": []byte("basic bWU6dDBrM24=")}, Masked: []string{"bWU6dDBrM24=", "t0k3n"}}, facts{Repository: "https://example.org:8443/app"}},
		{"user alone", "https://me@example.org/app.git",
			address{URL: "https://example.org/app.git", Host: "example.org", Git: true,
				Secrets: map[string][]byte{"GIT_AUTH_HEADER.example.org": []byte("basic bWU6")}, Masked: []string{"bWU6"}}, facts{Repository: "https://example.org/app"}},
		{"token alone", "https://long-t0k3n-12@example.org/app.git",
			address{URL: "https://example.org/app.git", Host: "example.org", Git: true,
				Secrets: map[string][]byte{"GIT_AUTH_HEADER.example.org": []byte("basic bG9uZy10MGszbi0xMjo=")}, Masked: []string{"bG9uZy10MGszbi0xMjo=", "long-t0k3n-12"}}, facts{Repository: "https://example.org/app"}},
		{"SSH", "ssh://git@example.org:2222/app.git#main",
			address{URL: "ssh://git@example.org:2222/app.git#main", Host: "example.org:2222", Git: true, SSH: true}, facts{Repository: "https://example.org/app"}},
		{"SSH, the short form", "git@example.org:acme/app.git#main:sub",
			address{URL: "git@example.org:acme/app.git#main:sub", Git: true, SSH: true}, facts{Repository: "https://example.org/acme/app"}},
		{"archive with a signature", "https://example.org/app.tar.gz?X-Signature=t0k3n",
			address{URL: "https://example.org/app.tar.gz?X-Signature=t0k3n", Host: "example.org", Masked: []string{"X-Signature=t0k3n"}}, facts{}},
		{"archive with a password", "https://me:t0k3n@example.org:8443/app.tar",
			address{URL: "https://example.org:8443/app.tar", Host: "example.org:8443",
				Secrets: map[string][]byte{"HTTP_AUTH_HEADER_example.org": []byte("Basic bWU6dDBrM24=")}, Masked: []string{"bWU6dDBrM24=", "t0k3n"}}, facts{}},
		{"loopback in the clear", "http://me:t0k3n@127.0.0.1:80/app.git",
			address{URL: "http://127.0.0.1:80/app.git", Host: "127.0.0.1:80", Git: true,
				Secrets: map[string][]byte{"GIT_AUTH_HEADER.127.0.0.1:80": []byte("basic bWU6dDBrM24=")}, Masked: []string{"bWU6dDBrM24=", "t0k3n"}}, facts{Repository: "http://127.0.0.1:80/app"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !isAddress(tc.value) {
				t.Fatalf("%s is taken for a path", tc.value)
			}
			got, err := parseAddress(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, got, cmpopts.IgnoreUnexported(address{})); diff != "" {
				t.Errorf("address (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.facts, got.facts()); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
			if strings.Contains(got.shown(), "t0k3n") {
				t.Errorf("shown as %s", got.shown())
			}
		})
	}
}

func TestBadAddressIsNotShown(t *testing.T) {
	const token = "t0k3n"
	for value, want := range map[string]string{
		"https://" + token + "@/app.git":                        "not a URL",
		"https://" + token + "%zz@example.org/app.git":          "not a URL",
		"ftp://" + token + "@example.org/app.tar":               "ftp:// is not accepted",
		"file:///etc/" + token:                                  "not a URL",
		"ssh://git:" + token + "@example.org/app.git":           "a password has no meaning",
		"http://me:" + token + "@example.org/app.git":           "in the clear",
		"https://me:" + token + "@example.org/app.tar#v1":       "for git repositories",
		"https://example.org/app.git?what=" + token:             "not understood",
		"https://example.org/app.git#--upload-pack=" + token:    "begins with a dash",
		"https://example.org/app.git?ref=--upload-pack" + token: "begins with a dash",
		"git@example.org:app.git?what=" + token:                 "not understood",
	} {
		_, err := parseAddress(value)
		if err == nil {
			t.Errorf("%s is accepted", value)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: error %q, want one that says %q and not the token", value, err, want)
		}
	}
}

func TestPathsAreNoAddresses(t *testing.T) {
	for _, path := range []string{".", "app", "./git@example.org", "github.com/acme/app", "a:b", "C:\\app"} {
		if isAddress(path) {
			t.Errorf("%s is taken for an address", path)
		}
	}
}

func TestDefaultContextIsTheCommitsAddress(t *testing.T) {
	own := facts{Repository: "https://example.org/acme/app", Revision: "7a3b5c9"}
	for subdir, want := range map[string]string{
		"":             "https://example.org/acme/app.git#7a3b5c9",
		":deploy":      "https://example.org/acme/app.git#7a3b5c9:deploy",
		":../../x":     "https://example.org/acme/app.git#7a3b5c9:x",
		"/sub":         "",
		"#other:thing": "",
	} {
		got, err := ownAddress(subdir, own)
		if (err != nil) != (want == "") || err == nil && got.URL != want {
			t.Errorf("%s%s: %+v, %v; want %s", defaultContext, subdir, got, err, want)
		}
	}
	if _, err := ownAddress("", facts{Repository: "https://example.org/a"}); err == nil {
		t.Error("an address was made without a commit")
	}
}

func TestTokenGoesToTheRepositorysOwnHostAlone(t *testing.T) {
	own := facts{Repository: "https://git.example.org/acme/app"}
	for _, tc := range []struct {
		name, value string
		own         facts
		given, want map[string][]byte
	}{
		{"own host", "https://git.example.org/acme/lib.git", own, nil, map[string][]byte{"GIT_AUTH_TOKEN.git.example.org": []byte("t")}},
		{"another host", "https://evil.example.org/acme/lib.git", own, nil, map[string][]byte{}},
		{"no repository", "https://git.example.org/lib.tar", own, nil, map[string][]byte{}},
		{"in the clear", "http://git.example.org/lib.git", own, nil, map[string][]byte{}},
		{"nothing known", "https://github.com/acme/lib.git", facts{}, nil, map[string][]byte{"GIT_AUTH_TOKEN.github.com": []byte("t")}},
		{"a secret of that name", "https://git.example.org/acme/lib.git", own, map[string][]byte{"GIT_AUTH_TOKEN.git.example.org": nil}, map[string][]byte{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := parseAddress(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			got := gitSecrets([]*address{a}, "t", tc.own, tc.given)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("secrets (-want +got):\n%s", diff)
			}
		})
	}
}
