package build

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/imagewright/imagewright/internal/image"
)

var v1None v1.Descriptor // for outputs that need no image

// finished is a layout with the busybox image as its root.
func finished(t *testing.T) (*image.Layout, v1.Descriptor) {
	t.Helper()
	useBase(t)
	l, err := image.OpenLayout(filepath.Join(baseDir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := l.Root()
	if err != nil {
		t.Fatal(err)
	}
	return l, root
}

// finishedIndex is a layout whose root holds busybox for two platforms.
func finishedIndex(t *testing.T) (*image.Layout, v1.Descriptor) {
	t.Helper()
	busybox, err := base()
	if err != nil {
		t.Fatal(err)
	}
	arm, err := mutate.ConfigFile(busybox, &v1.ConfigFile{OS: "linux", Architecture: "arm64", RootFS: mustConfig(t, busybox).RootFS})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: busybox, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	l, err := image.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := l.Root()
	if err != nil {
		t.Fatal(err)
	}
	return l, root
}

func mustConfig(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// written makes the outputs of in from the image root and returns the checkout
// they are in.
func written(t *testing.T, in Results, from *image.Layout, root v1.Descriptor) string {
	t.Helper()
	o, dir := parsed(t, in)
	if _, err := o.exports(time.Unix(0, 0), &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(o.workspace, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := o.write(t.Context(), from, root); err != nil {
		t.Fatal(err)
	}
	return dir
}

// skopeo returns what skopeo, which shares no code with us, says.
func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "skopeo", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

func TestOthersReadTheArchives(t *testing.T) {
	from, root := finished(t)
	dir := written(t, Results{
		Tags:    []string{"ghcr.io/acme/app:1.2"},
		Outputs: []string{"type=docker,dest=docker.tar", "type=oci,dest=oci.tar", "type=oci,dest=layout,tar=false"},
		Load:    true,
	}, from, root)
	for _, source := range []string{"oci-archive:" + dir + "/oci.tar", "oci:" + dir + "/layout", "oci-archive:" + dir + "/oci.tar:1.2"} {
		if got := strings.TrimSpace(string(skopeo(t, "inspect", "--format={{.Digest}}", source))); got != root.Digest.String() {
			t.Errorf("%s has the digest %s, want %s", source, got, root.Digest)
		}
	}
	img, err := from.Image(root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	want, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range []string{"docker.tar", ".imagewright/docker.tar"} {
		if got := skopeo(t, "inspect", "--raw", "--config", "docker-archive:"+filepath.Join(dir, archive)+":ghcr.io/acme/app:1.2"); !bytes.Equal(bytes.TrimSpace(got), want) {
			t.Errorf("%s has the config\n%s\nwant\n%s", archive, got, want)
		}
		// The layers are what the config says: skopeo checks them on the way.
		skopeo(t, "copy", "docker-archive:"+filepath.Join(dir, archive), "dir:"+filepath.Join(t.TempDir(), "copy"))
	}
	opened, err := image.Open(t.Context(), filepath.Join(dir, "docker.tar"), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Descriptor.Digest != root.Digest {
		t.Errorf("docker.tar opens as %s, want %s", opened.Descriptor.Digest, root.Digest)
	}
}

func TestAnIndexGoesIntoAnOCIArchiveWhole(t *testing.T) {
	from, root := finishedIndex(t)
	dir := written(t, Results{Outputs: []string{"type=oci,dest=oci.tar"}}, from, root)
	raw := skopeo(t, "inspect", "--raw", "oci-archive:"+dir+"/oci.tar")
	var got v1.IndexManifest
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Manifests) != 2 {
		t.Fatalf("the archive's root is %s (%v), want an index of two", raw, err)
	}
	skopeo(t, "copy", "--all", "oci-archive:"+dir+"/oci.tar", "dir:"+filepath.Join(t.TempDir(), "copy"))
}

func TestDockerTakesNoIndex(t *testing.T) {
	from, root := finishedIndex(t)
	o, _ := parsed(t, Results{Outputs: []string{"type=docker,dest=x.tar"}}) // one platform wanted, two came
	if err := o.write(t.Context(), from, root); err == nil || !strings.Contains(err.Error(), "docker load takes one platform") {
		t.Errorf("error %v; want one about platforms", err)
	}
}

func TestArchivesOfOneImageAreTheSameBytes(t *testing.T) {
	from, root := finished(t)
	in := Results{Tags: []string{"acme/app:1", "acme/app:2"}, Outputs: []string{"type=docker,dest=docker.tar", "type=oci,dest=oci.tar"}}
	one, two := written(t, in, from, root), written(t, in, from, root)
	for _, name := range []string{"docker.tar", "oci.tar"} {
		a, err := os.ReadFile(filepath.Join(one, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(two, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs from one time to the next", name)
		}
	}
}

func TestAnArchiveOnStandardOutputIsWhole(t *testing.T) {
	from, root := finished(t)
	o, _ := parsed(t, Results{Outputs: []string{"type=oci,dest=-"}})
	var stdout bytes.Buffer
	if _, err := o.exports(time.Unix(0, 0), &stdout); err != nil {
		t.Fatal(err)
	}
	if !o.toStdout() {
		t.Error("standard output is said to be free")
	}
	if err := o.write(t.Context(), from, root); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, stdout.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(skopeo(t, "inspect", "--format={{.Digest}}", "oci-archive:"+file))); got != root.Digest.String() {
		t.Errorf("the archive has the digest %s, want %s", got, root.Digest)
	}
}

func TestAnImageToLoadGoesWithTheNextBuild(t *testing.T) {
	from, root := finished(t)
	o, dir := parsed(t, Results{})
	stale := filepath.Join(dir, ".imagewright", "docker.tar")
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.write(t.Context(), from, root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("the archive of an earlier image is still there: %v", err)
	}
}

func TestDockerFindsEachNameOfTheImage(t *testing.T) {
	from, root := finished(t)
	names, err := imageNames([]string{"acme/app", "ghcr.io/acme/app:1"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := dockerContents(from, root, names)
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct{ RepoTags []string }
	if err := json.Unmarshal(raw, &entries); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"acme/app:latest", "ghcr.io/acme/app:1"}, entries[0].RepoTags); diff != "" {
		t.Errorf("names in manifest.json (-want +got):\n%s", diff)
	}
}
