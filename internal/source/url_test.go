package source_test

import (
	"testing"

	"github.com/imagewright/imagewright/internal/source"
)

func TestWebAddressOfARemote(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/acme/hello":                          "https://github.com/acme/hello",
		"https://github.com/acme/hello.git":                      "https://github.com/acme/hello",
		"https://github.com/acme/hello.git/":                     "https://github.com/acme/hello",
		"https://x-access-token:tok3n@github.com/acme/hello.git": "https://github.com/acme/hello",
		"https://tok3n@github.com/acme/hello?a=tok3n#tok3n":      "https://github.com/acme/hello",
		"http://git.example.com:8080/a/b.git":                    "http://git.example.com:8080/a/b",
		"HTTPS://GitHub.com/Acme/Hello":                          "https://github.com/Acme/Hello",
		"git@github.com:acme/hello.git":                          "https://github.com/acme/hello",
		"git@gitlab.example.com:group/sub/hello.git":             "https://gitlab.example.com/group/sub/hello",
		"gitlab.example.com:hello":                               "https://gitlab.example.com/hello",
		"ssh://git@git.example.com:2222/acme/hello.git":          "https://git.example.com/acme/hello",
		"ssh://git@[2001:db8::1]:2222/acme/hello":                "https://[2001:db8::1]/acme/hello",
		"git+ssh://git@example.com/a/b":                          "https://example.com/a/b",
		"git://example.com/a/b.git":                              "https://example.com/a/b",
		"git@ssh.dev.azure.com:v3/org/project/repo":              "https://dev.azure.com/org/project/_git/repo",
		"https://user:tok3n@dev.azure.com/org/project/_git/repo": "https://dev.azure.com/org/project/_git/repo",
		"https://example.com/a b":                                "https://example.com/a%20b",
		" https://example.com/a/b\n":                             "https://example.com/a/b",
		"/srv/git/hello.git":                                     "",
		"../hello":                                               "",
		"file:///srv/git/hello.git":                              "",
		`C:\src\hello`:                                           "",
		"C:/src/hello":                                           "",
		"https://":                                               "",
		"https://example.com":                                    "",
		"https://user:tok3n@exa mple.com/a":                      "",
		"https://example.com/\x1b[31m":                           "",
		"javascript://example.com/%0aalert(1)":                   "",
		"ext::sh -c tok3n":                                       "",
		"tok3n@":                                                 "",
		"":                                                       "",
	} {
		if got := source.WebURL(remote); got != want {
			t.Errorf("WebURL(%q) = %q; want %q", remote, got, want)
		}
	}
}
