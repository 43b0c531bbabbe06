package scan

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

func TestEverySourceGivesTheSameFindings(t *testing.T) {
	c := newCheckout(t)
	img := c.build(t, debian(dpkgHead+dpkgZlib))
	reference := strings.TrimSuffix(c.db, "/db:2") + "/acme/hello:v1"
	pushImage(t, reference, img)
	if err := images.WriteArchive(filepath.Join(c.dir, "oci.tar"), img); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("acme/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(c.dir, "docker.tar"), tag, img); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		arg        string
		sameDigest bool // docker save keeps no manifest
		place      string
	}{
		{"--source=" + c.workspace() + "/image", true, ""},
		{"--source=oci.tar", true, ""},
		{"--input=docker.tar", false, "acme/hello"},
		{"--image-ref=" + reference, true, "acme/hello"},
	} {
		t.Run(tc.arg, func(t *testing.T) {
			r := c.scan(t, tc.arg)
			r.wantCode(t, 3)
			wantText(t, "stderr", r.stderr, ": 1 CRITICAL, 2 HIGH; fail-on critical")
			s, err := record.Read[record.Scan](c.workspace(), "scan")
			if err != nil {
				t.Fatal(err)
			}
			if tc.sameDigest && s.Digest != digestOf(t, img).String() {
				t.Errorf("the verdict is about %s; the image has %s", s.Digest, digestOf(t, img))
			}
			sarif, err := os.ReadFile(filepath.Join(c.workspace(), "reports", "scan.sarif"))
			if err != nil {
				t.Fatal(err)
			}
			wantText(t, "SARIF", string(sarif), `"uri": "`+tc.place)
		})
	}
	report := c.report(t) // of the reference
	if len(report.Metadata.RepoTags) != 1 || report.Metadata.RepoTags[0] != reference || len(report.Metadata.RepoDigests) != 1 {
		t.Errorf("the report names the image by %v and %v", report.Metadata.RepoTags, report.Metadata.RepoDigests)
	}
}

// multi is an index of two images with these packages.
func multi(t *testing.T, amd64, arm64 string) (v1.ImageIndex, []v1.Image) {
	t.Helper()
	var all []v1.Image
	var index v1.ImageIndex = empty.Index
	for _, one := range []struct{ arch, status string }{{"amd64", amd64}, {"arm64", arm64}} {
		img := compose(t, debian(one.status))
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.Architecture = one.arch
		if img, err = mutate.ConfigFile(img, config); err != nil {
			t.Fatal(err)
		}
		all = append(all, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: one.arch}}})
	}
	return index, all
}

func TestAnIndexIsJudgedByAllItsImages(t *testing.T) {
	c := newCheckout(t)
	index, all := multi(t, dpkgClean, dpkgHead+dpkgZlib) // the second has the critical finding
	reference := strings.TrimSuffix(c.db, "/db:2") + "/acme/multi:v1"
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	whole, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args   []string
		code   int
		digest v1.Hash
	}{
		{nil, 3, whole},
		{[]string{"--platform=linux/amd64"}, 0, digestOf(t, all[0])},
		{[]string{"--platform=linux/arm64"}, 3, digestOf(t, all[1])},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			c.scan(t, append(tc.args, "--source="+reference)...).wantCode(t, tc.code)
			s, err := record.Read[record.Scan](c.workspace(), "scan")
			if err != nil {
				t.Fatal(err)
			}
			if s.Digest != tc.digest.String() {
				t.Errorf("the verdict is about %s, want %s", s.Digest, tc.digest)
			}
		})
	}
	r := c.scan(t, "--platform=linux/s390x", "--source="+reference)
	r.wantCode(t, 2)
	wantText(t, "stderr", r.stderr, "linux/s390x", "linux/amd64", "linux/arm64")
}

// The password is for the registry that source names. The database's registry
// must not see it, and nobody else either.
func TestThePasswordGoesToTheImagesRegistryAlone(t *testing.T) {
	const canary = "canary-5d1f2a"
	c := newCheckout(t)
	private := registry.ForTest(t, registry.Options{Users: map[string]string{"me": canary}})
	img := compose(t, debian(dpkgClean))
	ref, err := name.ParseReference(private.Addr() + "/acme/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "me", Password: canary})); err != nil {
		t.Fatal(err)
	}

	r := c.scan(t, "--source="+ref.Name())
	r.wantCode(t, 1)
	wantText(t, "stderr", r.stderr, "401", "username and password")

	c.env = []string{"IMAGEWRIGHT_SCAN_PASSWORD=" + canary}
	r = c.scan(t, "--source="+ref.Name(), "--username=me", "--log-level=debug")
	r.wantCode(t, 0)
	if strings.Contains(r.stdout+r.stderr, canary) {
		t.Errorf("the password is in the log:\n%s%s", r.stdout, r.stderr)
	}
	if err := filepath.WalkDir(c.workspace(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(canary)) {
			t.Errorf("the password is in %s", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}

	// A database behind the same kind of login is not opened by it.
	open := strings.TrimSuffix(c.db, "/db:2") + "/acme/hello:v1"
	pushImage(t, open, img)
	r = c.scan(t, "--username=me", "--source="+open, "--db-repository="+private.Addr()+"/db:2", "--cache-dir="+t.TempDir())
	r.wantCode(t, 1)
	wantText(t, "stderr", r.stderr, "401")
}

// What the image says of itself reaches the terminal, the log, a JSON file and a
// Markdown page: nowhere may it be more than text.
func TestHostileNamesStayText(t *testing.T) {
	c := newCheckout(t)
	summary := filepath.Join(c.dir, "summary.md")
	output := filepath.Join(c.dir, "output")
	for _, file := range []string{summary, output} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.env = []string{"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY=" + summary, "GITHUB_OUTPUT=" + output}
	path := "x\x1b[2J|<b>##[add-mask]a/\n::error::forged/PyYAML-5.3.dist-info/METADATA"
	c.build(t, debian(dpkgHead), map[string]string{path: pyYAML})
	called := func(name string) {
		change(t, filepath.Join(c.workspace(), "image", "index.json"), func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"digest"`), []byte(`"annotations":{"org.opencontainers.image.ref.name":"`+name+`"},"digest"`), 1)
		})
	}
	called("::error::forged ##[add-mask]b")
	onlyText := func(r result, what string) {
		for where, text := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
			if strings.Contains(text, "\x1b") || strings.Contains(text, "##[add-mask]") || strings.Contains("\n"+text, "\n::error::forged") {
				t.Errorf("%s: %s lets text of the image act:\n%q", what, where, text)
			}
		}
	}
	for _, format := range append(formats(), formatTable) {
		r := c.scan(t, "--format="+format)
		r.wantCode(t, 3)
		onlyText(r, "format "+format)
	}
	c.build(t, debian(dpkgHead), map[string]string{strings.Replace(path, "PyYAML-5.3.dist-info/METADATA", "broken.jar", 1): "no zip"})
	r := c.scan(t)
	r.wantCode(t, 1)
	onlyText(r, "a file that cannot be read")
	page, err := os.ReadFile(summary)
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, "summary", string(page), "| CRITICAL | CVE-2020-14343 |", "debian 12.5")
	if strings.Contains(string(page), "<b>") || strings.Contains(string(page), "\x1b") {
		t.Errorf("the summary lets markup of the image through:\n%s", page)
	}
}
