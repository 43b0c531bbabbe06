package push

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
	"github.com/imagewright/imagewright/internal/step"
)

// checkout is a directory with a workspace in it.
type checkout struct {
	t      *testing.T
	dir    string
	digest string // of the image in the workspace
}

// newCheckout has an index of so many images in its workspace, or one image for
// 0, built, scanned and tagged.
func newCheckout(t *testing.T, images int64, tags ...string) *checkout {
	t.Helper()
	c := &checkout{t: t, dir: t.TempDir()}
	c.build(images)
	c.record("scan", &record.Scan{Digest: c.digest, Verdict: record.Pass})
	c.record("tag", &record.Tag{Digest: c.digest, Tags: tags})
	return c
}

func (c *checkout) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *checkout) workspace() string { return filepath.Join(c.dir, ".imagewright") }

func (c *checkout) record(step string, r any) {
	c.t.Helper()
	switch r := r.(type) {
	case *record.Build:
		c.must(record.Write(c.workspace(), step, r))
	case *record.Scan:
		c.must(record.Write(c.workspace(), step, r))
	case *record.Tag:
		c.must(record.Write(c.workspace(), step, r))
	}
}

// build puts a new random image into the workspace.
func (c *checkout) build(images int64) {
	c.t.Helper()
	layout, err := image.CreateLayout(filepath.Join(c.workspace(), "image"))
	c.must(err)
	var root v1.Descriptor
	if images == 0 {
		img, err := random.Image(4096, 2)
		c.must(err)
		root = c.putImage(layout, img)
	} else {
		index, err := random.Index(4096, 2, images)
		c.must(err)
		m, err := index.IndexManifest()
		c.must(err)
		for _, d := range m.Manifests {
			img, err := index.Image(d.Digest)
			c.must(err)
			c.putImage(layout, img)
		}
		root = c.putDocument(layout, index)
	}
	c.must(layout.SetRoot(root))
	c.digest = root.Digest.String()
	c.record("build", &record.Build{Image: record.Image{Digest: c.digest, MediaType: string(root.MediaType)}})
}

func (c *checkout) putImage(layout *image.Layout, img v1.Image) v1.Descriptor {
	c.t.Helper()
	layers, err := img.Layers()
	c.must(err)
	for _, l := range layers {
		d, err := partial.Descriptor(l)
		c.must(err)
		r, err := l.Compressed()
		c.must(err)
		c.must(layout.Put(*d, r))
	}
	m, err := img.Manifest()
	c.must(err)
	config, err := img.RawConfigFile()
	c.must(err)
	c.must(layout.Put(m.Config, bytes.NewReader(config)))
	return c.putDocument(layout, img)
}

func (c *checkout) putDocument(layout *image.Layout, d partial.Describable) v1.Descriptor {
	c.t.Helper()
	desc, err := partial.Descriptor(d)
	c.must(err)
	raw, err := d.(document).RawManifest()
	c.must(err)
	c.must(layout.Put(*desc, bytes.NewReader(raw)))
	return *desc
}

// push runs the step and returns its exit code, results and log.
func (c *checkout) push(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	return c.pushWith(c.t.Context(), nil, args...)
}

func (c *checkout) pushWith(ctx context.Context, environ []string, args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, log bytes.Buffer
	code = step.Run(ctx, &Step{}, step.Process{
		Args: args, Environ: environ, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Dir: c.dir,
	})
	return code, out.String(), log.String()
}

// kind sorts a request that writes: blob, manifest or tag.
func kind(r *http.Request) string {
	switch {
	case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:"):
		return "manifest"
	case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
		return "tag"
	case r.Method == http.MethodPut:
		return "blob"
	}
	return ""
}

func TestBlobsGoBeforeManifestsAndTagsLastOverAllRegistries(t *testing.T) {
	first, second := registrytest.Start(t), registrytest.Start(t)
	var mu sync.Mutex
	var writes, tags []string
	for _, s := range []*registrytest.Server{first, second} {
		s.Before(func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if k := kind(r); k != "" {
				writes = append(writes, k)
				if k == "tag" {
					tags = append(tags, r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
				}
			}
			return false
		})
	}
	c := newCheckout(t, 3, "latest", "v1.2.3", "1", "1.2")
	code, stdout, stderr := c.push("--images=" + first.Host + "/acme/app\n" + second.Host + "/app")
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	if before := writes[:len(writes)-8]; slices.Contains(before, "tag") {
		t.Errorf("writes %v; want all 8 tags at the end", writes)
	}
	want := []string{"v1.2.3", "v1.2.3", "1.2", "1.2", "1", "1", "latest", "latest"}
	if diff := cmp.Diff(want, tags); diff != "" {
		t.Errorf("tags in this order (-want +got):\n%s", diff)
	}
	blobs := 0
	for _, r := range first.Requests() { // in each registry: no blob after a manifest
		switch {
		case r.Method == http.MethodPut && strings.Contains(r.Path, "/blobs/"):
			blobs++
			if blobs > 9 {
				t.Errorf("more than the 9 blobs were sent")
			}
		case r.Method == http.MethodPut && blobs != 9:
			t.Errorf("%s after %d of 9 blobs", r, blobs)
		}
	}
	if !strings.Contains(stdout, first.Host+"/acme/app:v1.2.3@"+c.digest+"\n") {
		t.Errorf("stdout %q; want repository:tag@digest, one a line", stdout)
	}
	c.checkPushed(first.Host+"/acme/app", second.Host+"/app")
}

// checkPushed looks at the record and the outputs.
func (c *checkout) checkPushed(repositories ...string) {
	c.t.Helper()
	done, err := record.Read[record.Push](c.workspace(), "push")
	c.must(err)
	var got []string
	for _, target := range done.Targets {
		got = append(got, target.Repository)
		if target.Digest != c.digest || target.BytesSent == 0 || len(target.Tags) != 4 {
			c.t.Errorf("record %+v; want the digest, the bytes sent and four tags", target)
		}
	}
	if done.Digest != c.digest || !slices.Equal(got, repositories) {
		c.t.Errorf("record names %s in %v; want %s in %v", done.Digest, got, c.digest, repositories)
	}
	env, err := os.ReadFile(filepath.Join(c.workspace(), "push.env"))
	c.must(err)
	if !strings.Contains(string(env), c.digest) || !strings.Contains(string(env), repositories[0]+":latest") {
		c.t.Errorf("outputs %s; want the digest and repository:tag", env)
	}
}

func TestASourceOfItsOwnIsPushedUnderItsOwnDigest(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 2, "v1.0.0")
	if code, _, stderr := c.push("--images=" + s.Host + "/app"); code != 0 {
		t.Fatal(stderr)
	}
	c.must(os.RemoveAll(filepath.Join(c.workspace(), "image")))
	code, _, stderr := c.push("--images="+s.Host+"/copy", "--source="+s.Host+"/app:v1.0.0")
	if code != 0 {
		t.Fatalf("from a registry: exit %d, %s", code, stderr)
	}
	if got := tagged(t, s, "copy", "v1.0.0"); got[0] != c.digest {
		t.Errorf("copy:v1.0.0 is %v, want %s", got, c.digest)
	}
}

func TestTheSummaryHasARowForEachRepository(t *testing.T) {
	s := registrytest.Start(t)
	c := newCheckout(t, 0, "v1.0.0", "latest")
	file := filepath.Join(t.TempDir(), "summary.md")
	c.must(os.WriteFile(file, nil, 0o644))
	env := []string{"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY=" + file}
	if code, _, stderr := c.pushWith(t.Context(), env, "--images="+s.Host+"/app"); code != 0 {
		t.Fatal(stderr)
	}
	raw, err := os.ReadFile(file)
	c.must(err)
	if want := fmt.Sprintf("| `%s/app` | `v1.0.0` `latest` |", s.Host); !strings.Contains(string(raw), want) || !strings.Contains(string(raw), c.digest) {
		t.Errorf("summary %s; want the row %q and the digest", raw, want)
	}
}
