package test

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Errors quote what images say.
func TestAnErrorForgesNothing(t *testing.T) {
	for name, make := range map[string]func(s *hostileScan){
		"a file that cannot be read": func(s *hostileScan) {
			s.layout("image", packed(func(w *tar.Writer) error { return addText(w, "srv/"+forgery+".jar", forgery) }))
		},
		"a layer that is cut off": func(s *hostileScan) {
			s.layout("image", gzipped(func(w io.Writer) error {
				return tar.NewWriter(w).WriteHeader(&tar.Header{Name: "srv/" + forgery, Size: 1000})
			}))
		},
		"a distribution that nobody knows": func(s *hostileScan) {
			s.layout("image", packed(func(w *tar.Writer) error {
				line := strings.NewReplacer("\n", " ", "\r", " ").Replace(forgery)
				return errors.Join(addText(w, "etc/debian_version", "99"+line+"\n"),
					addText(w, "var/lib/dpkg/status", "Package: a"+line+"\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMaintainer: a\n"))
			}))
		},
		"two images": func(s *hostileScan) {
			s.layout("image")
			root := rootOf(s.t, s.path("image"))
			root.Annotations = map[string]string{"io.containerd.image.name": forgery}
			other := root
			other.Digest.Hex = strings.Repeat("0", 64)
			other.Annotations = map[string]string{"io.containerd.image.name": "y" + forgery}
			writeRoot(s.t, s.path("image"), root, other)
		},
		"a platform": func(s *hostileScan) {
			s.layout("image")
			root := rootOf(s.t, s.path("image"))
			root.Platform = &v1.Platform{OS: forgery, Architecture: forgery}
			index := writeJSON(s.t, s.path("image/blobs/sha256"), types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{root}})
			writeRoot(s.t, s.path("image"), index)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileScan(t)
			make(s)
			cmd := s.command(0, "--source=image", "--platform=linux/s390x", "--log-level=debug")
			if name != "a platform" {
				cmd.Args = slices.DeleteFunc(cmd.Args, func(a string) bool { return strings.HasPrefix(a, "--platform") })
			}
			cmd.Env = append(cmd.Env, "GITHUB_ACTIONS=true")
			o := s.await(cmd, defaultHostileDeadline)
			s.checkEnd(o)
			if o.code != 1 && o.code != 2 || !strings.Contains(o.stderr, "forged") {
				t.Errorf("code %d: the test looks at the wrong thing:\n%s", o.code, o.stderr)
			}
			checkLog(t, "the log", o.stderr)
		})
	}
}
