package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// annotation is one entry of the input annotations at one of its levels.
type annotation struct {
	Level    string             // manifest, index, manifest-descriptor or index-descriptor
	Platform *ocispecs.Platform // the only one it is for; never of an index
	Name     string
	Value    string
}

// attr is the attribute of BuildKit's image exporters that writes a.
func (a annotation) attr() (name, value string) {
	return exptypes.AnnotationKey{Type: a.Level, Platform: a.Platform, Key: a.Name}.String(), a.Value
}

// readAnnotations reads [LEVEL[,LEVEL…]:]NAME=VALUE items, where a level of
// manifests may have [PLATFORM] behind it.
//
// Format: https://docs.docker.com/build/metadata/annotations/#specify-annotation-level
func readAnnotations(items []string) ([]annotation, error) {
	items, err := joined(items)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input annotations: %w", err), "a line that begins with a double quote goes on to the next one")
	}
	var all []annotation
	for i, item := range items {
		found, err := parseAnnotation(item)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input annotations, entry %d: %w", i+1, err), "write NAME=VALUE, or LEVEL:NAME=VALUE with manifest, index, manifest-descriptor or index-descriptor, and [OS/ARCH] behind it for one platform")
		}
		all = append(all, found...)
	}
	return all, nil
}

func parseAnnotation(item string) ([]annotation, error) {
	name, value, ok := strings.Cut(item, "=")
	levels := exptypes.AnnotationManifest
	if before, after, leveled := strings.Cut(name, ":"); leveled {
		levels, name = before, after
	}
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") {
		return nil, fmt.Errorf("%q is not NAME=VALUE", item)
	}
	var all []annotation
	for level := range strings.SplitSeq(levels, ",") {
		a := annotation{Name: name, Value: value}
		var platform string
		var limited bool
		a.Level, platform, limited = strings.Cut(level, "[")
		if !slices.Contains([]string{
			exptypes.AnnotationManifest, exptypes.AnnotationIndex, exptypes.AnnotationManifestDescriptor, exptypes.AnnotationIndexDescriptor,
		}, a.Level) {
			return nil, fmt.Errorf("the level %q is not known", level)
		}
		if limited {
			platform, closed := strings.CutSuffix(platform, "]")
			parsed, err := platforms.Parse(platform)
			switch {
			case !closed || err != nil:
				return nil, fmt.Errorf("%q does not name a platform", level)
			case a.Level == exptypes.AnnotationIndex || a.Level == exptypes.AnnotationIndexDescriptor:
				return nil, fmt.Errorf("%q: an index is of all platforms", level)
			}
			parsed = platforms.Normalize(parsed)
			a.Platform = &parsed
		}
		all = append(all, a)
	}
	return all, nil
}
