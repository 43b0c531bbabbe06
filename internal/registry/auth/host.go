package auth

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// PlainHTTP are the hosts, with or without a port, that are spoken to without
// TLS. Without a port it is every port of that host. Loopback always is.
type PlainHTTP []string

// Has says whether host is spoken to without TLS.
func (p PlainHTTP) Has(host string) bool {
	return IsLoopback(host) || slices.ContainsFunc(p, func(named string) bool {
		named = strings.TrimSpace(named)
		return strings.EqualFold(named, host) || strings.EqualFold(named, hostname(host))
	})
}

// hostname is host without its port and brackets.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// IsLoopback says whether host, with or without a port, is this machine.
func IsLoopback(host string) bool {
	h := strings.ToLower(hostname(host))
	if h == "localhost" || strings.HasSuffix(h, ".localhost") { // RFC 6761, 6.3
		return true
	}
	ip, err := netip.ParseAddr(h)
	return err == nil && ip.Unmap().IsLoopback()
}

// MayReach says whether an answer from the host from may send us to the host
// to. Else a registry, or whoever answers for it, could make us talk to a
// machine's metadata service or to a neighbour that trusts our network. Names
// that resolve to private addresses are let through: the ordinary registry on
// a company's network redirects to its ordinary storage.
func MayReach(from, to string) bool {
	if strings.EqualFold(hostname(from), hostname(to)) {
		return true
	}
	if IsLoopback(to) {
		return IsLoopback(from)
	}
	ip, err := netip.ParseAddr(hostname(to))
	if err != nil {
		return true
	}
	ip = ip.Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
		return false
	}
	if !ip.IsPrivate() {
		return true
	}
	own, err := netip.ParseAddr(hostname(from))
	return IsLoopback(from) || err == nil && own.Unmap().IsPrivate()
}
