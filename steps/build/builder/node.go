package builder

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/buildkit/remote"
	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
)

// Kind is where a builder runs.
type Kind string

// The kinds of builders. Where a line of the input names no address, it is the
// kind itself.
const (
	Auto       Kind = "auto"              // the first of the others that works here
	Embedded   Kind = "embedded"          // in this program
	Docker     Kind = "docker"            // a Docker Engine's own BuildKit
	Privileged Kind = "docker-privileged" // this program, in a privileged container of a Docker Engine
	Container  Kind = "docker-container"  // a buildkitd in a container of a Docker Engine
	Remote     Kind = "remote"            // a BuildKit at an address
)

// accepted is what a builder may be, as usage errors say it.
const accepted = "accepted are auto, embedded, docker, docker-privileged, docker-container://NAME, " + remote.Accepted

// Node is a line of the input builder.
type Node struct {
	Kind      Kind
	Platforms []ocispecs.Platform // that it is for; none: for all that it can

	Address   remote.Address // of kind Remote
	container string         // of kind Container
}

// Parse reads the lines of the input builder, [PLATFORM,…=]ADDRESS. No line is
// auto. Several must each have platforms, and no platform may stand in two.
// Errors are usage errors; no password in an address gets into them.
func Parse(lines []string) ([]Node, error) {
	if len(lines) == 0 {
		return []Node{{Kind: Auto}}, nil
	}
	var nodes []Node
	seen := map[string]bool{}
	for _, line := range lines {
		node, err := parseLine(strings.TrimSpace(line))
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input builder: %w", err), fault.Hint(err))
		}
		if len(lines) > 1 && len(node.Platforms) == 0 {
			return nil, fault.Usage(fmt.Errorf("input builder: of several builders each needs its platforms, and %s has none", node),
				"write linux/amd64="+node.String())
		}
		for _, p := range node.Platforms {
			name := platforms.FormatAll(p)
			if seen[name] {
				return nil, fault.Usage(fmt.Errorf("input builder: two builders are for %s", name), "name each platform once")
			}
			seen[name] = true
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

func parseLine(line string) (Node, error) {
	names, address := "", line
	// An address may hold an equals sign too, in its query.
	before, after, ok := strings.Cut(line, "=")
	if ok && !strings.Contains(before, "://") {
		names, address = before, strings.TrimSpace(after)
	}
	node, err := parseAddress(address)
	if err != nil || !ok || address == line {
		return node, err
	}
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		p, err := platforms.Parse(name)
		if err != nil || !strings.Contains(name, "/") {
			return Node{}, fault.Usage(fmt.Errorf("%q is no platform", ci.Printable(name)), "want OS/ARCH, such as linux/arm64")
		}
		node.Platforms = append(node.Platforms, platforms.Normalize(p))
	}
	return node, nil
}

// containerName is what a Docker Engine takes as a container's name or id.
// https://github.com/moby/moby/blob/docker-v29.0.0/daemon/names/names.go
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

func parseAddress(address string) (Node, error) {
	switch kind := Kind(address); kind {
	case Auto, Embedded, Docker, Privileged:
		return Node{Kind: kind}, nil
	}
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case !ok:
		return Node{}, noAddress(address)
	case scheme == string(Container):
		if !containerName.MatchString(rest) {
			return Node{}, fault.Usage(errors.New("docker-container://: no container has such a name"), "want docker-container://NAME, as docker ps shows it")
		}
		return Node{Kind: Container, container: rest}, nil
	}
	at, err := remote.ParseAddress(address)
	if err != nil {
		return Node{}, fault.Usage(err, accepted)
	}
	return Node{Kind: Remote, Address: at}, nil
}

// noAddress says what to write instead of name. Most likely it is that of an
// instance of buildx, which is what docker/build-push-action takes there: it
// stands in files of buildx, for one that runs docker itself.
//
// buildx calls the container of an instance's first node after both:
// https://github.com/docker/buildx/blob/v0.26.1/driver/manager.go#L45
func noAddress(name string) error {
	if name == "default" {
		return fault.Usage(errors.New(`"default" is buildx's name for the engine's own builder`), "write docker; "+accepted)
	}
	if !containerName.MatchString(name) {
		return fault.Usage(fmt.Errorf("%q is no address", ci.Printable(name)), accepted)
	}
	return fault.Usage(fmt.Errorf("%q is no address; if it is the name of a buildx instance, as setup-buildx-action gives it, that means nothing outside of buildx", name),
		fmt.Sprintf("write docker-container://buildx_buildkit_%s0 for an instance that buildx runs in a container, or the endpoint that docker buildx inspect shows; %s", name, accepted))
}

// String returns the node as its line has it, without platforms.
func (n Node) String() string {
	switch n.Kind {
	case Container:
		return string(Container) + "://" + n.container
	case Remote:
		return n.Address.String()
	}
	return string(n.Kind)
}
