package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/test/images"
)

// The tests below build for real: as root, with runc or crun, from an image of
// one static busybox.

var (
	base    = sync.OnceValues(images.Busybox)
	baseDir string // a layout of base
)

func TestMain(m *testing.M) {
	buildkit.ServeIfChild() // the engine is this test program, run again
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "imagewright-build-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	baseDir = dir
	return m.Run()
}

// useBase returns the arguments that make `FROM base` the busybox image.
func useBase(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(baseDir, "layout")
	if _, err := os.Stat(dir); err != nil {
		busybox, err := base()
		if err != nil {
			t.Fatal(err)
		}
		if err := images.WriteLayout(dir, busybox); err != nil {
			t.Fatal(err)
		}
	}
	return "--build-contexts=base=oci-layout://" + dir
}

// run is a build in a process of its own.
type run struct {
	dir, state string
	environ    []string
	args       []string
}

type outcome struct {
	code           int
	stdout, stderr string
}

func (r run) build(t *testing.T) outcome {
	t.Helper()
	return r.buildUntil(t, "")
}

// buildUntil cancels the build when word, if any, stands in its log.
func (r run) buildUntil(t *testing.T, word string) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout bytes.Buffer
	stderr := watched{word: word, seen: cancel}
	path := "PATH=" + os.Getenv("PATH")
	code := step.Run(ctx, &Step{}, step.Process{
		Args:    append([]string{"--state-dir=" + r.state, "--progress=plain"}, r.args...),
		Environ: append([]string{path}, r.environ...),
		Stdin:   strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: r.dir,
	})
	return outcome{code, stdout.String(), stderr.text.String()}
}

// watched is a log that calls seen when word is in it.
type watched struct {
	text bytes.Buffer // not embedded: its WriteString would pass Write by
	word string
	seen func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.text.Write(p)
	if w.word != "" && strings.Contains(w.text.String(), w.word) {
		w.seen()
	}
	return len(p), nil
}

func (r run) mustBuild(t *testing.T) outcome {
	t.Helper()
	o := r.build(t)
	if o.code != 0 {
		t.Fatalf("build exits %d:\n%s", o.code, o.stderr)
	}
	return o
}

// built returns the image in the workspace of checkout dir.
func built(t *testing.T, dir string) v1.Image {
	t.Helper()
	recorded, err := record.Read[record.Build](filepath.Join(dir, ".imagewright"), "build")
	if err != nil {
		t.Fatal(err)
	}
	layout, err := image.OpenLayout(filepath.Join(dir, ".imagewright", "image"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := layout.Root()
	if err != nil {
		t.Fatal(err)
	}
	if root.Digest.String() != recorded.Image.Digest {
		t.Fatalf("the layout's root is %s, the record says %s", root.Digest, recorded.Image.Digest)
	}
	if err := layout.Verify(t.Context(), root.Digest); err != nil {
		t.Fatal(err)
	}
	img, err := layout.Image(root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// tree lists the files below the directories in dir, with size and time.
func tree(t *testing.T, dir string, below ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, b := range below {
		err := filepath.Walk(filepath.Join(dir, b), func(path string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				files[path] = fmt.Sprint(info.Size(), info.ModTime())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// layerFiles returns the content of all files of an image, by path; of two
// layers the upper one's.
func layerFiles(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	files := map[string]string{}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		stream, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		unzipped, err := gzip.NewReader(stream)
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewReader(unzipped)
		for {
			header, err := archive.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			files[header.Name] = string(text)
		}
		stream.Close()
	}
	return files
}
