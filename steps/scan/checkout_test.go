package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// Files of the images that are scanned here. glibc has two HIGH findings in the
// test database, zlib a CRITICAL one that Debian will not fix, PyYAML a CRITICAL
// one.
const (
	dpkgHead  = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: Debian\nSource: glibc\nVersion: 2.36-9+deb12u1\n\n"
	dpkgZlib  = "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: Debian\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\n\n"
	dpkgClean = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: Debian\nSource: glibc\nVersion: 2.36-9+deb12u9\n\n"
	pyYAML    = "Metadata-Version: 2.1\nName: PyYAML\nVersion: 5.3\n\n"

	pyYAMLPath = "usr/lib/python3/dist-packages/PyYAML-5.3.dist-info/METADATA"
)

func debian(status string) map[string]string {
	return map[string]string{"etc/debian_version": "12.5\n", "var/lib/dpkg/status": status}
}

// checkout is a project in which scan runs.
type checkout struct {
	dir, cache, db string
	env            []string
}

// newCheckout has an empty cache, and a registry with the test database.
func newCheckout(t *testing.T) *checkout {
	t.Helper()
	server := registry.ForTest(t, registry.Options{})
	c := &checkout{dir: t.TempDir(), cache: t.TempDir(), db: server.Addr() + "/db:2"}
	seed(t, c.db, database.Options{})
	return c
}

func seed(t *testing.T, reference string, o database.Options) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := database.Seed(t.Context(), ref, o); err != nil {
		t.Fatal(err)
	}
}

func (c *checkout) workspace() string { return filepath.Join(c.dir, ".imagewright") }

// build puts an image with a layer for each of files where build puts it, and
// records it.
func (c *checkout) build(t *testing.T, files ...map[string]string) v1.Image {
	t.Helper()
	img := compose(t, files...)
	if err := os.RemoveAll(filepath.Join(c.workspace(), "image")); err != nil {
		t.Fatal(err)
	}
	if err := images.WriteLayout(filepath.Join(c.workspace(), "image"), img); err != nil {
		t.Fatal(err)
	}
	if err := record.Write(c.workspace(), "build", &record.Build{Image: record.Image{Digest: digestOf(t, img).String()}}); err != nil {
		t.Fatal(err)
	}
	return img
}

func compose(t *testing.T, files ...map[string]string) v1.Image {
	t.Helper()
	var steps []images.Step
	for _, f := range files {
		layer, err := images.TextLayer(f)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, images.Step{CreatedBy: "COPY test /", Layer: layer})
	}
	img, err := images.Compose(nil, steps, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// result is what a run of scan left.
type result struct {
	code           int
	stdout, stderr string
}

func (c *checkout) scan(t *testing.T, args ...string) result {
	t.Helper()
	return c.scanContext(t.Context(), args...)
}

func (c *checkout) scanContext(ctx context.Context, args ...string) result {
	var stdout, stderr bytes.Buffer
	args = append([]string{"--cache-dir=" + c.cache}, args...)
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--db-repository=") }) {
		args = append(args, "--db-repository="+c.db)
	}
	code := step.Run(ctx, &Step{}, step.Process{Args: args, Environ: c.env, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: c.dir})
	return result{code, stdout.String(), stderr.String()}
}

func (r result) wantCode(t *testing.T, want int) {
	t.Helper()
	if r.code != want {
		t.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.code, want, r.stdout, r.stderr)
	}
}

func wantText(t *testing.T, where, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", where, part, text)
		}
	}
}

func (c *checkout) outputs(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.workspace(), "scan.env"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (c *checkout) report(t *testing.T) types.Report {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.workspace(), "reports", "scan.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r types.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("scan.json: %v", err)
	}
	return r
}
