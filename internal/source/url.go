package source

import (
	"net/url"
	"regexp"
	"strings"
)

// scp is git's short form of SSH: [user@]host:path, where no slash comes
// before the colon.
var scp = regexp.MustCompile(`^(?:[^/@:]*@)?([A-Za-z0-9][A-Za-z0-9.-]+):([^/].*|/[^/].*)$`)

// WebURL turns a remote's address into the one a browser opens: https for SSH
// and git's own protocol, without credentials, query and ".git". It returns ""
// for local paths and for what it does not understand: never the text itself,
// which may carry a token.
func WebURL(remote string) string {
	remote = strings.TrimSpace(remote)
	if strings.Contains(remote, "::") && !strings.Contains(remote, "://") {
		return "" // a transport helper's: ext::command
	}
	if !strings.Contains(remote, "://") {
		m := scp.FindStringSubmatch(remote)
		if m == nil {
			return ""
		}
		return webURL("https", m[1], m[2])
	}
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		return ""
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return webURL(u.Scheme, u.Host, u.Path)
	case "ssh", "git", "git+ssh", "ssh+git":
		host := u.Hostname() // the port is SSH's
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return webURL("https", host, u.Path)
	}
	return ""
}

func webURL(scheme, host, path string) string {
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if path == "" {
		return ""
	}
	// https://learn.microsoft.com/azure/devops/repos/git/use-ssh-keys-to-authenticate
	if rest, ok := strings.CutPrefix(path, "v3/"); ok && host == "ssh.dev.azure.com" {
		if org, repo, ok := cutLast(rest, "/"); ok {
			host, path = "dev.azure.com", org+"/_git/"+repo
		}
	}
	u := url.URL{Scheme: scheme, Host: strings.ToLower(host), Path: "/" + path}
	return u.String()
}
