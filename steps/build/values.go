package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// readPlatforms reads the input platforms, each of them once.
func readPlatforms(texts []string) ([]ocispecs.Platform, error) {
	var all []ocispecs.Platform
	for _, text := range texts {
		platform, err := platforms.Parse(text)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input platforms: %q is not OS/ARCH", text), "write linux/amd64, linux/arm64 or linux/arm/v7")
		}
		platform = platforms.Normalize(platform)
		same := func(p ocispecs.Platform) bool { return platforms.FormatAll(p) == platforms.FormatAll(platform) }
		if !slices.ContainsFunc(all, same) {
			all = append(all, platform)
		}
	}
	return all, nil
}

func platformNames(all []ocispecs.Platform) []string {
	var names []string
	for _, p := range all {
		names = append(names, platforms.FormatAll(p))
	}
	return names
}

// fitting returns where in all p is: its own place, or else that of the first
// whose machines run it too, as those of arm64 run arm and those of amd64 386; -1
// for none.
func fitting(all []ocispecs.Platform, p ocispecs.Platform) int {
	for _, only := range []func(ocispecs.Platform) platforms.MatchComparer{platforms.OnlyStrict, platforms.Only} {
		if i := slices.IndexFunc(all, func(one ocispecs.Platform) bool { return only(one).Match(p) }); i >= 0 {
			return i
		}
	}
	return -1
}

// readMirrors reads REGISTRY=MIRROR items, in their order.
func readMirrors(items []string) (map[string][]string, error) {
	mirrors := map[string][]string{}
	for i, item := range items {
		registry, mirror, ok := strings.Cut(item, "=")
		registry, mirror = strings.TrimSpace(registry), strings.TrimSpace(mirror)
		if !ok || registry == "" || mirror == "" || strings.Contains(item, "://") {
			return nil, fault.Usage(fmt.Errorf("input mirrors, entry %d: it is not REGISTRY=MIRROR", i+1), "write docker.io=mirror.example.com, without https://")
		}
		mirrors[registry] = append(mirrors[registry], mirror)
	}
	return mirrors, nil
}

// size reads a number of bytes such as 20GB; "" is 0.
func size(input, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := units.FromHumanSize(text)
	if err != nil || n <= 0 {
		return 0, fault.Usage(fmt.Errorf("input %s: %q is not accepted; want a size such as 20GB", input, text), "")
	}
	return n, nil
}

// pairs reads NAME=VALUE items. With getenv, a name alone takes its value from
// the environment, and is left out where that has none, as Docker does it.
func pairs(input string, items []string, getenv func(string) string) (map[string]string, error) {
	items, err := joined(items)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input %s: %w", input, err), "a line that begins with a double quote goes on to the next one")
	}
	values := map[string]string{}
	for i, item := range items {
		name, value, ok := strings.Cut(item, "=")
		if name == "" {
			return nil, fault.Usage(fmt.Errorf("input %s, entry %d: it is not NAME=VALUE", input, i+1), "")
		}
		if !ok && getenv != nil {
			if value = getenv(name); value == "" {
				continue
			}
		}
		values[name] = value
	}
	return values, nil
}
