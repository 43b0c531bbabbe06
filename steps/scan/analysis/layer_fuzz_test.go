package analysis

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"path"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FuzzLayer looks for a tar that leads out of the image, and for a result that
// does not survive the way to another process.
func FuzzLayer(f *testing.F) {
	for _, names := range [][]string{
		{"etc/debian_version", "var/lib/dpkg/status", "srv/.wh.gone", "srv/package.json"},
		{"../../a/package.json", "/./b/../package.json", "c/.wh..wh..opq", "d/./package.json"},
		{},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range names {
			const text = `{"name": "a", "version": "1"}`
			err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
			if err == nil {
				_, err = io.WriteString(w, text)
			}
			if err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Layer(t.Context(), input(data), Options{TempDir: t.TempDir()})
		if err != nil {
			return
		}
		config := &v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{r.DiffID}}}
		detail, err := Merge([]*Result{sent(t, r)}, config, nil)
		if err != nil {
			return
		}
		for _, app := range detail.Applications {
			for _, p := range app.Packages {
				if app.Type == ftypes.NodePkg && (path.IsAbs(p.FilePath) || strings.HasPrefix(path.Clean(p.FilePath), "..")) {
					t.Errorf("something was found at %q, which is not in the image", p.FilePath)
				}
			}
		}
	})
}

// sent is a result as another process gets it.
func sent(t *testing.T, r *Result) *Result {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatalf("the result cannot be written: %v", err)
	}
	again := &Result{}
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatalf("the result cannot be read: %v", err)
	}
	if second, err := json.Marshal(again); err != nil || !bytes.Equal(text, second) {
		t.Fatalf("the result reads as another (%v):\n%s\n%s", err, text, second)
	}
	return again
}
