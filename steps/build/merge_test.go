package build

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
	"github.com/imagewright/imagewright/test/images"
)

// imageFor is busybox, said to be for arch.
func imageFor(t *testing.T, arch string) v1.Image {
	t.Helper()
	busybox, err := base()
	if err != nil {
		t.Fatal(err)
	}
	config, err := busybox.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture, config.Variant = arch, ""
	img, err := mutate.ConfigFile(busybox, config)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, img v1.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// jobWorkspace is the workspace of a job that built an image for arch.
func jobWorkspace(t *testing.T, arch, revision string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), ".imagewright")
	img := imageFor(t, arch)
	if err := images.WriteLayout(filepath.Join(dir, "image"), img); err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, img)
	said := statement{
		Type: "https://in-toto.io/Statement/v0.1", PredicateType: "https://slsa.dev/provenance/v1", Predicate: json.RawMessage(`{"arch":"` + arch + `"}`),
		Subject: []subject{{"_", map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}},
	}
	if err := os.MkdirAll(filepath.Join(dir, "reports"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := said.write(filepath.Join(dir, "reports", "provenance.intoto.json")); err != nil {
		t.Fatal(err)
	}
	err := record.Write(dir, stepName, &record.Build{
		Image:        record.Image{Digest: digest, Platforms: []string{"linux/" + arch}},
		Source:       record.Source{Repository: "https://git.example.com/acme/app", Revision: revision},
		Names:        []string{"ghcr.io/acme/app:1"},
		Materials:    []record.Material{{Name: "base", Digest: "sha256:" + strings.Repeat("b", 64)}},
		Attestations: []record.Attestation{{PredicateType: said.PredicateType, Path: "reports/provenance.intoto.json", Digest: digest, Platform: "linux/" + arch}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// merge runs merge in dir.
func merge(t *testing.T, dir string, sources []string, environ ...string) outcome {
	t.Helper()
	return run{
		dir: dir, state: t.TempDir(), args: []string{"--command=merge"},
		environ: append([]string{"INPUT_SOURCES=" + strings.Join(sources, "\n")}, environ...),
	}.build(t)
}

func mustMerge(t *testing.T, dir string, sources []string, environ ...string) outcome {
	t.Helper()
	o := merge(t, dir, sources, environ...)
	if o.code != 0 {
		t.Fatalf("merge exits %d:\n%s", o.code, o.stderr)
	}
	return o
}

// children are the digests and platforms of the index in dir's workspace, which
// must be whole.
func children(t *testing.T, dir string) (all []string) {
	t.Helper()
	layout, err := image.OpenLayout(filepath.Join(dir, ".imagewright", "image"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := layout.Root()
	if err == nil {
		err = layout.Verify(t.Context(), root.Digest)
	}
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.Index(root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		all = append(all, d.Platform.String()+" "+d.Digest.String())
	}
	return all
}

func TestMergeMakesOneIndexOfTheImagesOfSeveralJobs(t *testing.T) {
	amd64, arm64, s390x := jobWorkspace(t, "amd64", commit), jobWorkspace(t, "arm64", commit), imageFor(t, "s390x")
	host := registrytest.Start(t).Host
	put(t, host+"/app:s390x", s390x)
	dir := t.TempDir()
	sources := []string{
		filepath.Dir(arm64),                 // what the workspace lies in
		host + "/app@" + digestOf(t, s390x), // no workspace at all
		filepath.Join(amd64, "image"),       // the layout in the workspace
	}
	first := mustMerge(t, dir, sources)
	want := []string{"linux/arm64 " + digestOf(t, imageFor(t, "arm64")), "linux/s390x " + digestOf(t, s390x), "linux/amd64 " + digestOf(t, imageFor(t, "amd64"))}
	if diff := cmp.Diff(want, children(t, dir)); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	got, err := record.Read[record.Build](filepath.Join(dir, ".imagewright"), stepName)
	if err != nil {
		t.Fatal(err)
	}
	if got.Image.Digest+"\n" != first.stdout || got.Source.Revision != commit || got.Image.Size == 0 {
		t.Errorf("the record is %+v; merge printed %s", got, first.stdout)
	}
	if diff := cmp.Diff([]string{"linux/arm64", "linux/s390x", "linux/amd64"}, got.Image.Platforms); diff != "" {
		t.Errorf("platforms in the record (-want +got):\n%s", diff)
	}
	if len(got.Names) != 1 || len(got.Materials) != 1 {
		t.Errorf("what both builds said stands there twice, or not at all: %v, %v", got.Names, got.Materials)
	}
	if !strings.Contains(first.stderr, "nothing tells which commit") {
		t.Errorf("no word of the source without a record:\n%s", first.stderr)
	}
	for _, a := range got.Attestations {
		raw, err := os.ReadFile(filepath.Join(dir, ".imagewright", a.Path))
		if err != nil || !strings.Contains(string(raw), strings.TrimPrefix(a.Digest, "sha256:")) || !strings.Contains(string(raw), strings.TrimPrefix(a.Platform, "linux/")) {
			t.Errorf("attestation %+v: %v\n%s", a, err, raw)
		}
	}
	if len(got.Attestations) != 2 {
		t.Errorf("there are %d attestations, want those of the 2 builds", len(got.Attestations))
	}

	// Again, in the order that is asked for, then as before.
	ordered := mustMerge(t, dir, sources, "INPUT_PLATFORMS=linux/amd64,linux/arm64,linux/s390x")
	if got := children(t, dir); !strings.HasPrefix(got[0], "linux/amd64") || !strings.HasPrefix(got[2], "linux/s390x") || ordered.stdout == first.stdout {
		t.Errorf("the index is %v", got)
	}
	if again := mustMerge(t, dir, sources); again.stdout != first.stdout {
		t.Errorf("the same merge gives %s and then %s", first.stdout, again.stdout)
	}
}

func TestSourcesThatMakeNoImage(t *testing.T) {
	amd64, arm64, other := jobWorkspace(t, "amd64", commit), jobWorkspace(t, "arm64", commit), jobWorkspace(t, "arm64", strings.Repeat("f", 40))
	torn := jobWorkspace(t, "arm64", commit)
	layout, err := image.OpenLayout(filepath.Join(torn, "image"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := imageFor(t, "arm64").ConfigName()
	if err == nil {
		err = os.Remove(filepath.Join(layout.Dir(), "blobs", "sha256", blob.Hex))
	}
	if err != nil {
		t.Fatal(err)
	}
	newer := jobWorkspace(t, "arm64", commit)
	if err := os.WriteFile(filepath.Join(newer, "record", "build.json"), []byte(`{"version":99}`), 0o644); err != nil {
		t.Fatal(err)
	}
	stranger := jobWorkspace(t, "arm64", commit)
	raw, err := os.ReadFile(filepath.Join(stranger, "record", "build.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(stranger, "record", "build.json"), []byte(strings.ReplaceAll(string(raw), "reports/provenance.intoto.json", "../../../../etc/passwd")), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		sources []string
		environ string
		code    int
		want    []string
	}{
		"none":                              {nil, "", 2, []string{"input sources: merge got 0 images"}},
		"one platform twice":                {[]string{amd64, arm64, arm64}, "", 2, []string{"two images for linux/arm64"}},
		"two commits":                       {[]string{amd64, other}, "", 2, []string{"of different commits", commit, strings.Repeat("f", 40), amd64, other}},
		"a platform that nobody built":      {[]string{amd64}, "INPUT_PLATFORMS=linux/amd64,linux/arm64", 2, []string{"there is no image for linux/arm64"}},
		"a platform that nobody asked for":  {[]string{amd64, arm64}, "INPUT_PLATFORMS=linux/amd64", 2, []string{"an image for linux/arm64, which the input platforms does not name"}},
		"no such directory":                 {[]string{amd64, "./nowhere"}, "", 2, []string{`source "./nowhere": no such file or directory`}},
		"a tag":                             {[]string{amd64, "localhost:1/app:1"}, "", 2, []string{"localhost:1/app:1", "has no digest"}},
		"a registry that is down":           {[]string{amd64, "127.0.0.1:1/app@sha256:" + strings.Repeat("a", 64)}, "", 1, []string{"127.0.0.1:1", "refused"}},
		"a blob is missing":                 {[]string{amd64, torn}, "", 1, []string{"layout " + filepath.Join(torn, "image"), blob.String(), "is missing"}},
		"a newer record":                    {[]string{amd64, newer}, "", 2, []string{"version 99"}},
		"an attestation outside of its job": {[]string{amd64, stranger}, "", 1, []string{"passwd", "escapes"}},
		"annotations of no index":           {[]string{amd64}, "INPUT_ANNOTATIONS=index:a=b", 2, []string{"annotations of an index"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustMerge(t, dir, []string{amd64})
			before := tree(t, dir, ".imagewright/record", ".imagewright/reports")
			o := merge(t, dir, tc.sources, tc.environ)
			if o.code != tc.code {
				t.Errorf("exit code is %d, want %d:\n%s", o.code, tc.code, o.stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(o.stderr, want) {
					t.Errorf("the log has no %q:\n%s", want, o.stderr)
				}
			}
			if diff := cmp.Diff(before, tree(t, dir, ".imagewright/record", ".imagewright/reports")); diff != "" {
				t.Errorf("the workspace has changed (-before +after):\n%s", diff)
			}
			built(t, dir) // is the image of before, and whole
		})
	}
}

func TestOneSourceIsTheImageItself(t *testing.T) {
	dir := t.TempDir()
	o := mustMerge(t, dir, []string{jobWorkspace(t, "amd64", commit)})
	if want := digestOf(t, imageFor(t, "amd64")); strings.TrimSpace(o.stdout) != want {
		t.Errorf("the result is %s, want the one image, %s", o.stdout, want)
	}
	built(t, dir)
}

func TestMergePullsWithCredentialsAndShowsThemToNobody(t *testing.T) {
	const password = "p4ssw0rd"
	img := imageFor(t, "amd64")
	private := registrytest.StartPrivate(t, "user", password).Host
	put(t, private+"/app:1", img, remote.WithAuth(&authn.Basic{Username: "user", Password: password}))
	tokens := tokenRegistry(t, img, password, "")
	astray := tokenRegistry(t, img, password, "http://auth.invalid/token")
	for name, tc := range map[string]struct {
		repository, password string
		code                 int
		want                 string
	}{
		"basic":                  {private + "/app", password, 0, ""},
		"basic, wrong":           {private + "/app", "wr0ng", 1, "the registry did not let us in: 401 Unauthorized"},
		"token":                  {tokens + "/base", password, 0, ""},
		"token, wrong":           {tokens + "/base", "wr0ng", 1, "the registry did not let us in"},
		"token server elsewhere": {astray + "/base", password, 1, "it does not use TLS"},
		"no such image":          {private + "/other", password, 1, "does not exist in its registry"},
	} {
		t.Run(name, func(t *testing.T) {
			host, _, _ := strings.Cut(tc.repository, "/")
			dir := t.TempDir()
			o := merge(t, dir, []string{tc.repository + "@" + digestOf(t, img)}, "INPUT_REGISTRY="+host, "INPUT_USERNAME=user", "INPUT_PASSWORD="+tc.password)
			if o.code != tc.code || !strings.Contains(o.stderr, tc.want) {
				t.Errorf("exit code is %d, want %d and %q:\n%s", o.code, tc.code, tc.want, o.stderr)
			}
			if strings.Contains(o.stderr, tc.password) {
				t.Errorf("the log shows the password:\n%s", o.stderr)
			}
			if tc.code == 0 {
				built(t, dir)
			}
		})
	}
}
