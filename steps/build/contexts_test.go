package build

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestNamedContexts(t *testing.T) {
	dir := checkout(t, map[string]string{"extra/x": ""})
	s := around(dir)
	contexts, err := namedContexts([]string{
		"extra=extra", "alpine:latest=docker-image://alpine:3.22", "nothing=docker-image://scratch", "lib=https://me:t0k3n@example.org/lib.git#v1",
		"tool=https://example.org/tool.tgz", "deep=git@example.org:a/b.git",
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := partsOf(contexts, s)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"context:extra": "local:named-0", "context:alpine": "docker-image://alpine:3.22", "context:nothing": "docker-image://scratch",
		"context:lib": "https://example.org/lib.git#v1", "context:tool": "https://example.org/tool.tgz", "context:deep": "git@example.org:a/b.git",
	}
	if diff := cmp.Diff(want, parts.Attrs); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if len(parts.Mounts) != 1 || parts.Mounts["named-0"] == nil || len(parts.Addresses) != 3 {
		t.Errorf("mounts %v and addresses %v, want one and three", parts.Mounts, parts.Addresses)
	}
	if got := withGitSSH(nil, parts.Addresses); !slices.Equal(got, []string{"default"}) {
		t.Errorf("agents are %q, want the default one for the SSH address", got)
	}
}

func TestALayoutIsAContextByItsTag(t *testing.T) {
	from, root := finished(t)
	names, err := imageNames([]string{"ghcr.io/acme/base:1.2", "ghcr.io/acme/base:latest"})
	if err != nil {
		t.Fatal(err)
	}
	content, err := newArchived(from, root, output{kind: "oci", names: names})
	if err != nil {
		t.Fatal(err)
	}
	s := around(t.TempDir())
	if err := content.writeLayout(t.Context(), s.abs("base")); err != nil {
		t.Fatal(err)
	}
	found, err := namedContexts([]string{"x=oci-layout://base:1.2"}, s)
	if err != nil || found[0].Digest.String() != root.Digest.String() {
		t.Errorf("got %v, %v; want %s", found, err, root.Digest)
	}
	_, err = namedContexts([]string{"x=oci-layout://base:3"}, s)
	if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), `has no image "3"`) {
		t.Errorf("error %v, want a usage error that names the tag", err)
	}
}

func TestNamedContextsThatAreRefused(t *testing.T) {
	dir := checkout(t, map[string]string{"app/x": ""})
	if err := os.Symlink("/etc", filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	for record, want := range map[string]string{
		"x=target:other":                 "another target of a bake file",
		"x=docker-image://A:b c":         "is not an image reference",
		"x=ftp://t0k3n@example.org/":     "ftp:// is not accepted",
		"x=etc":                          "leads out of the checkout",
		"x=oci-layout://etc":             "leads out of the checkout",
		"x=nowhere":                      "there is no directory",
		"UPPER/CASE=app":                 "neither a stage name nor an image reference",
		"x=app\nx=app":                   "x is given twice",
		"x=http://t0k3n@example.org/a":   "in the clear",
		"x=oci-layout://nowhere@sha256:": "no OCI layout",
	} {
		s := around(dir)
		s.fork = true
		_, err := namedContexts(strings.Split(record, "\n"), s)
		if fault.Code(err) != fault.ExitUsage {
			t.Errorf("%s: error %v, want a usage error", record, err)
			continue
		}
		if text := err.Error() + fault.Hint(err); !strings.Contains(text, want) || strings.Contains(text, "t0k3n") {
			t.Errorf("%s: error %q, want one that says %q", record, text, want)
		}
	}
}
