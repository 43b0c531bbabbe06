package analysis

import (
	"context"
	"encoding/json"
	"path"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const (
	nameContentSets     = "redhat-content-manifest"
	nameBuildDockerfile = "redhat-dockerfile"
	buildInfoDir        = "root/buildinfo/"
)

// contentManifest reports whether Red Hat's build system wrote the file at p to
// say which repositories a layer's packages come from. Advisories differ
// between them.
func contentManifest(p string) bool {
	dir, base := path.Split(p)
	return (dir == buildInfoDir+"content_manifests/" || dir == "usr/share/buildinfo/") && // the latter of RHEL CoreOS
		path.Ext(base) == ".json"
}

// buildDockerfile reports whether the file at p is the Dockerfile that Red Hat
// built a layer from, as its build system left it.
func buildDockerfile(p string) bool {
	dir, base := path.Split(p)
	return dir == buildInfoDir && strings.HasPrefix(base, "Dockerfile")
}

func (l *layer) buildInfo() *ftypes.BuildInfo {
	if l.result.BuildInfo == nil {
		l.result.BuildInfo = &ftypes.BuildInfo{}
	}
	return l.result.BuildInfo
}

func (l *layer) contentSets(_ context.Context, _ string, c *content) error {
	var manifest struct {
		ContentSets []string `json:"content_sets"`
	}
	if err := json.NewDecoder(c).Decode(&manifest); err != nil {
		return err
	}
	if len(manifest.ContentSets) > 0 {
		l.buildInfo().ContentSets = manifest.ContentSets
	}
	return nil
}

// buildDockerfile takes the image's name, version and release, and architecture
// from labels and the file's name. Where they are not there, or not told
// plainly, the layer has none: newer images do without, and name content sets.
func (l *layer) buildDockerfile(_ context.Context, p string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	component, arch := redHatLabels(string(data))
	if component == "" || arch == "" {
		return nil
	}
	info := l.buildInfo()
	info.Nvr, info.Arch = component+"-"+versionInName(p), arch
	return nil
}

// versionInName returns 8.3-227 of Dockerfile-ubi8-8.3-227.
func versionInName(p string) string {
	release := strings.LastIndexByte(p, '-')
	if release < 0 {
		return ""
	}
	return p[strings.LastIndexByte(p[:release], '-')+1:]
}
