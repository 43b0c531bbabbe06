package build

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/util/gitutil"

	"github.com/imagewright/imagewright/internal/source"
)

// address is where the builder fetches a context from. What was secret in it is
// in Secrets, and nowhere else.
type address struct {
	URL     string            // without credentials
	Host    string            // with the port, if there is one
	Git     bool              // a repository; else a file
	SSH     bool              // reached with the SSH agent "default"
	Secrets map[string][]byte // by the id that BuildKit asks for
	Masked  []string          // further texts that must show nowhere
	ref     string            // of a repository; empty for its HEAD
	remote  string            // URL without ref and directory
}

// isAddress tells an address from a path, by its form alone.
func isAddress(value string) bool {
	_, _, isURL := strings.Cut(value, "://")
	return isURL || gitutil.IsGitTransport(value)
}

// parseAddress reads the address of a repository or a file. No error shows it.
func parseAddress(value string) (*address, error) {
	if !strings.Contains(value, "://") {
		a := &address{URL: value, Git: true, SSH: true}
		return a, a.readRef()
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		return nil, errors.New("the address is not a URL (it is not shown)")
	}
	user := u.User
	a := &address{Host: u.Host}
	switch u.Scheme = strings.ToLower(u.Scheme); u.Scheme {
	case "http", "https":
		u.User = nil
		a.Git = strings.HasSuffix(u.Path, ".git") // as BuildKit tells them apart
	case "ssh", "git":
		a.Git, a.SSH = true, u.Scheme == "ssh"
		if _, has := user.Password(); has {
			return nil, fmt.Errorf("a password has no meaning in a %s:// address", u.Scheme)
		}
	default:
		return nil, fmt.Errorf("%s:// is not accepted; want https:// or ssh://", u.Scheme)
	}
	a.URL = u.String()
	if u.User == nil && user != nil {
		if err := a.keep(user); err != nil {
			return nil, err
		}
	}
	if a.Git {
		return a, a.readRef()
	}
	if u.Fragment != "" {
		return nil, errors.New("what stands behind # is for git repositories, whose addresses end in .git")
	}
	if u.RawQuery != "" {
		a.Masked = append(a.Masked, u.RawQuery) // often a signature that lets everybody in
	}
	return a, nil
}

// keep makes the credentials of an address secrets.
func (a *address) keep(user *url.Userinfo) error {
	if !a.encrypted() {
		return errors.New("its password would be sent over http:// in the clear; want https://")
	}
	password, _ := user.Password()
	coded := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
	// Names: https://docs.docker.com/build/building/secrets/#git-authentication-for-remote-contexts
	id, scheme := "GIT_AUTH_HEADER."+a.Host, "basic "
	if !a.Git {
		u := url.URL{Host: a.Host}
		id, scheme = "HTTP_AUTH_HEADER_"+u.Hostname(), "Basic "
	}
	a.Secrets = map[string][]byte{id: []byte(scheme + coded)}
	a.Masked = append(a.Masked, coded)
	const minTokenBytes = 12 // what is shorter is a user's name, and would blacken half the log
	if password != "" {
		a.Masked = append(a.Masked, password)
	} else if name := user.Username(); len(name) >= minTokenBytes { // GitHub takes a token there
		a.Masked = append(a.Masked, name)
	}
	return nil
}

// readRef checks what BuildKit makes of a repository's address.
func (a *address) readRef() error {
	parsed, _, err := dfgitutil.ParseGitRef(a.URL)
	if err != nil {
		return fmt.Errorf("the git address is not understood: %w", err)
	}
	if strings.HasPrefix(parsed.Ref, "-") {
		return errors.New("the git address has a ref that begins with a dash")
	}
	a.remote, a.ref = parsed.Remote, parsed.Ref
	if parsed.Checksum != "" {
		a.ref = parsed.Checksum
	}
	return nil
}

// encrypted tells whether nobody on the way reads along.
func (a *address) encrypted() bool {
	u, err := url.Parse(a.URL)
	if err != nil || u.Scheme != "http" {
		return true // SSH's short form is no URL
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// lends tells whether a takes something secret to be read, which every step of
// the build can then use as well.
func (a *address) lends() bool { return a.SSH || len(a.Secrets) > 0 }

func (a *address) shown() string {
	if a.Git {
		return a.URL
	}
	before, _, _ := strings.Cut(a.URL, "?")
	return before
}

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$|^[0-9a-f]{64}$`)

func (a *address) facts() facts {
	f := facts{}
	if !a.Git {
		return f
	}
	f.Repository = source.WebURL(a.remote)
	switch {
	case commitID.MatchString(a.ref):
		f.Revision = a.ref
	case strings.HasPrefix(a.ref, "refs/"):
		f.Ref = a.ref
	}
	return f
}

// defaultContext is what docker/build-push-action calls the address of the
// commit that a run is about. https://github.com/docker/build-push-action#git-context
const defaultContext = "{{defaultContext}}"

// ownAddress is the address of the checkout's commit; subdir is ":DIRECTORY" or
// empty.
func ownAddress(subdir string, own facts) (*address, error) {
	dir, ok := strings.CutPrefix(subdir, ":")
	if subdir != "" && !ok {
		return nil, fmt.Errorf("%q behind %s is not :DIRECTORY", subdir, defaultContext)
	}
	if own.Repository == "" || own.Revision == "" {
		return nil, fmt.Errorf("%s: neither the CI nor the checkout tells repository and commit", defaultContext)
	}
	value := strings.TrimSuffix(own.Repository, ".git") + ".git#" + own.Revision
	if dir != "" {
		value += ":" + strings.TrimPrefix(path.Clean("/"+dir), "/")
	}
	return parseAddress(value)
}
