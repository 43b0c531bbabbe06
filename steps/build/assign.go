package build

import (
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/build/builder"
)

// assignment is what one builder is to build.
type assignment struct {
	node      builder.Node
	platforms []ocispecs.Platform
}

// assign gives every platform in wanted to the one of nodes that is for it, and
// returns wanted, or what nodes are for where it is empty. A node for no platform
// in particular takes them all.
func assign(nodes []builder.Node, wanted []ocispecs.Platform) ([]assignment, []ocispecs.Platform, error) {
	all := make([]assignment, len(nodes))
	for i, n := range nodes {
		all[i].node = n
		if len(nodes) > 1 && len(wanted) == 0 {
			all[i].platforms = n.Platforms
		}
	}
	for _, w := range wanted {
		i := nodeFor(nodes, w)
		if i < 0 {
			return nil, nil, fault.Usage(fmt.Errorf("input platforms: no builder is for %s", platforms.FormatAll(w)), "name it before the address of one of the builders: "+platforms.FormatAll(w)+"=ADDRESS")
		}
		all[i].platforms = append(all[i].platforms, w)
	}
	if len(wanted) > 0 {
		all = slices.DeleteFunc(all, func(a assignment) bool { return len(a.platforms) == 0 })
	}
	order := wanted
	if len(wanted) == 0 {
		for _, a := range all {
			order = append(order, a.platforms...)
		}
	}
	return all, order, nil
}

// nodeFor returns which of nodes p is built on, -1 for none. One for no platform
// in particular is for all.
func nodeFor(nodes []builder.Node, p ocispecs.Platform) int {
	var all []ocispecs.Platform
	var of []int
	for i, n := range nodes {
		if len(n.Platforms) == 0 {
			return i
		}
		for _, own := range n.Platforms {
			all, of = append(all, own), append(of, i)
		}
	}
	if i := fitting(all, p); i >= 0 {
		return of[i]
	}
	return -1
}
