// Package remote reaches a BuildKit that runs somewhere else: behind a TCP port
// with or without TLS, a Unix socket, ssh, or kubectl.
package remote

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
)

// Accepted is what [ParseAddress] takes, as usage errors say it.
const Accepted = "tcp://HOST:PORT, unix:///SOCKET, ssh://[USER@]HOST[:PORT][/SOCKET] or kube-pod://POD[?namespace=NAME&container=NAME&context=NAME]"

// maxSocketPath is what a Unix socket's address has room for, in bytes.
const maxSocketPath = 107

// Address is where a BuildKit listens. The zero value is nowhere.
type Address struct {
	scheme string

	host, port string // of tcp and ssh
	user       string // of ssh
	socket     string // of unix, and of ssh: there

	pod, namespace, container, context string // of kube-pod
}

// What may stand in an address. Parts of it become arguments of ssh and kubectl,
// where a leading hyphen would make an option of them, and ssh hands the socket
// to a shell.
var (
	hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?$`)
	username = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@+-]*$`)
	remotely = regexp.MustCompile(`^/[A-Za-z0-9._/@+-]+$`)
	kubeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
)

// ParseAddress reads an address. Errors are usage errors; no password in s gets
// into them.
func ParseAddress(s string) (Address, error) {
	a, err := parse(s)
	if err != nil {
		return Address{}, fault.Usage(fmt.Errorf("builder %q: %w", redact(s), err), "accepted are "+Accepted)
	}
	return a, nil
}

func parse(s string) (Address, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return Address{}, errors.New("it is no address")
	case !slices.Contains([]string{"tcp", "unix", "ssh", "kube-pod"}, scheme):
		return Address{}, fmt.Errorf("scheme %s is not known", scheme)
	case scheme == "unix":
		return parseUnix(rest)
	}
	u, err := url.Parse(s)
	if err != nil {
		return Address{}, errors.New("it is no well-formed address") // err would quote a password
	}
	if _, has := u.User.Password(); has {
		return Address{}, errors.New("a password has no place in an address")
	}
	if u.Fragment != "" || u.Opaque != "" {
		return Address{}, errors.New("it is no well-formed address")
	}
	switch scheme {
	case "tcp":
		return parseTCP(u)
	case "ssh":
		return parseSSH(u)
	default:
		return parseKubePod(u)
	}
}

func parseUnix(path string) (Address, error) {
	switch {
	case !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0):
		return Address{}, errors.New("a socket's path is absolute: three slashes, as in unix:///run/buildkit/buildkitd.sock")
	case len(path) > maxSocketPath:
		return Address{}, fmt.Errorf("the path has %d bytes, and a socket's address has room for %d", len(path), maxSocketPath)
	}
	return Address{scheme: "unix", socket: path}, nil
}

func parseTCP(u *url.URL) (Address, error) {
	switch {
	case u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
		return Address{}, errors.New("only a host and a port belong there")
	case u.Port() == "":
		return Address{}, errors.New("the port is missing; a BuildKit's is usually 1234")
	}
	if err := checkHost(u); err != nil {
		return Address{}, err
	}
	return Address{scheme: "tcp", host: u.Hostname(), port: u.Port()}, nil
}

func parseSSH(u *url.URL) (Address, error) {
	if u.RawQuery != "" {
		return Address{}, errors.New("it takes no query")
	}
	if err := checkHost(u); err != nil {
		return Address{}, err
	}
	a := Address{scheme: "ssh", host: u.Hostname(), port: u.Port(), user: u.User.Username()}
	if u.User != nil && !username.MatchString(a.user) {
		return Address{}, errors.New("that cannot be a user's name")
	}
	if u.Path != "" && u.Path != "/" {
		if !remotely.MatchString(u.Path) {
			return Address{}, errors.New("the path of the socket may hold letters, digits and . _ / @ + - only")
		}
		a.socket = u.Path
	}
	return a, nil
}

func checkHost(u *url.URL) error {
	if host := u.Hostname(); !hostname.MatchString(host) && net.ParseIP(host) == nil {
		return errors.New("that cannot be a host's name")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("a port is a number from 1 to 65535")
		}
	}
	return nil
}

func parseKubePod(u *url.URL) (Address, error) {
	if u.User != nil || u.Port() != "" || strings.Trim(u.Path, "/") != "" {
		return Address{}, errors.New("only a pod's name belongs there, and the rest into the query")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Address{}, errors.New("its query is not well-formed")
	}
	a := Address{scheme: "kube-pod", pod: u.Hostname()}
	fields := map[string]*string{"namespace": &a.namespace, "container": &a.container, "context": &a.context}
	for name, values := range query {
		field, known := fields[name]
		if !known || len(values) != 1 {
			return Address{}, fmt.Errorf("%q may not stand in its query, or not twice", name)
		}
		*field = values[0]
	}
	for what, name := range map[string]string{"pod": a.pod, "namespace": a.namespace, "container": a.container} {
		if name != "" && !kubeName.MatchString(name) || what == "pod" && name == "" {
			return Address{}, fmt.Errorf("%q cannot be the name of a %s", name, what)
		}
	}
	return a, nil
}

// String returns the address as it is written. There is no password in it.
func (a Address) String() string {
	u := url.URL{Scheme: a.scheme, Host: a.host, Path: a.socket}
	if strings.Contains(a.host, ":") {
		u.Host = "[" + a.host + "]"
	}
	if a.port != "" {
		u.Host = net.JoinHostPort(a.host, a.port)
	}
	if a.user != "" {
		u.User = url.User(a.user)
	}
	if a.scheme == "kube-pod" {
		u.Host = a.pod
		query := url.Values{}
		for name, value := range map[string]string{"namespace": a.namespace, "container": a.container, "context": a.context} {
			if value != "" {
				query.Set(name, value)
			}
		}
		u.RawQuery = query.Encode()
	}
	return u.String()
}

// TLS tells whether the address is of a kind that TLS is spoken to.
func (a Address) TLS() bool { return a.scheme == "tcp" }

// loopback tells whether a TCP address is this machine's own.
func (a Address) loopback() bool {
	ip := net.ParseIP(a.host)
	return ip.IsLoopback() || a.host == "localhost"
}

// redact is s, which may be no address at all, without what may be a password.
func redact(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		s = scheme + "://…" + rest[at:]
	}
	return ci.Printable(s)
}
