package build

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/imagewright/imagewright/internal/fault"
)

// attrs are the inputs of How as attributes of BuildKit's Dockerfile frontend.
// Without stages, the names in no-cache-filters are not checked.
//
// Names: https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerui/config.go
func (h How) attrs(stages []instructions.Stage) (map[string]string, error) {
	attrs := map[string]string{}
	if h.Pull {
		attrs["image-resolve-mode"] = "pull"
	}
	if h.Network != "default" && h.Network != "" {
		attrs["force-network-mode"] = h.Network
	}
	if h.CgroupParent != "" {
		attrs["cgroup-parent"] = h.CgroupParent
	}
	for _, more := range []func() (map[string]string, error){
		func() (map[string]string, error) { return h.cacheAttrs(stages) },
		h.hostAttrs, h.ulimitAttrs, h.memoryAttrs, h.processorAttrs,
	} {
		found, err := more()
		if err != nil {
			return nil, err
		}
		maps.Copy(attrs, found)
	}
	return attrs, nil
}

func (h How) cacheAttrs(stages []instructions.Stage) (map[string]string, error) {
	switch {
	case h.NoCache && len(h.NoCacheFilters) > 0:
		return nil, fault.Usage(errors.New("input no-cache-filters: no-cache runs every stage again already"), "leave one of the two out")
	case h.NoCache:
		return map[string]string{"no-cache": ""}, nil // empty means every stage
	case len(h.NoCacheFilters) == 0:
		return nil, nil
	}
	for _, name := range h.NoCacheFilters {
		if _, ok := instructions.HasStage(stages, name); !ok && len(stages) > 0 {
			return nil, fault.Usage(fmt.Errorf("input no-cache-filters: there is no stage %q", name), stageNames(stages))
		}
	}
	return map[string]string{"no-cache": strings.Join(h.NoCacheFilters, ",")}, nil
}

// hostAttrs reads HOST:IP and HOST=IP; an IPv6 address may stand in brackets.
func (h How) hostAttrs() (map[string]string, error) {
	var all []string
	for i, entry := range h.AddHosts {
		refuse := func(format string, args ...any) error {
			return fault.Usage(fmt.Errorf("input add-hosts, entry %d: "+format, append([]any{i + 1}, args...)...), "write HOST:IP, such as db:10.0.0.5 or db:[fd00::5]")
		}
		at := strings.IndexAny(entry, ":=")
		if at <= 0 {
			return nil, refuse("%q is not HOST:IP", entry)
		}
		host, address := entry[:at], entry[at+1:]
		if strings.ContainsAny(host, " \t\n\",") {
			return nil, refuse("%q is no host's name", host)
		}
		if address == "host-gateway" {
			return nil, refuse("host-gateway is known to a Docker engine alone; give the address")
		}
		ip := net.ParseIP(strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"))
		if ip == nil {
			return nil, refuse("%q is no IP address", address)
		}
		all = append(all, host+"="+ip.String())
	}
	return joinedAttr("add-hosts", all), nil
}

func joinedAttr(name string, values []string) map[string]string {
	if len(values) == 0 {
		return nil
	}
	return map[string]string{name: strings.Join(values, ",")}
}

// entitlements are the rights that the builder is asked to grant. The host's
// network is one that network=host asks for by itself.
func (h How) entitlements() ([]string, error) {
	var all []string
	for i, entry := range h.Allow {
		if _, _, err := entitlements.Parse(entry); err != nil {
			return nil, fault.Usage(fmt.Errorf("input allow, entry %d: %q is not accepted; want network.host, security.insecure, device or device=NAME", i+1, entry), "")
		}
		all = append(all, entry)
	}
	if h.Network == "host" {
		all = append(all, entitlements.EntitlementNetworkHost.String())
	}
	return all, nil
}
