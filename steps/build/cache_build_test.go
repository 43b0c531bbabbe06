package build

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/buildkit/ghatest"
)

func TestGitHubsCacheServesTheNextRunner(t *testing.T) {
	github := ghatest.Start(t)
	dir := checkout(t, map[string]string{"Dockerfile": "FROM base AS make\nRUN date > /out\nFROM base\nCOPY --from=make /out /out\n"})
	runner := run{dir: dir, args: []string{useBase(t), "--cache-from=type=gha", "--cache-to=type=gha,mode=max"}, environ: []string{
		"ACTIONS_RUNTIME_TOKEN=" + github.Token, "ACTIONS_RESULTS_URL=" + github.URL, "ACTIONS_CACHE_SERVICE_V2=True",
	}}
	runner.state = t.TempDir()
	first := runner.mustBuild(t)
	runner.state = t.TempDir()
	second := runner.mustBuild(t)
	if first.stdout != second.stdout { // a date is in the layer
		t.Errorf("from the cache comes %s, without it %s", second.stdout, first.stdout)
	}
	for _, secret := range []string{github.Token, ghatest.Signature} {
		if strings.Contains(first.stderr+second.stderr, secret) {
			t.Errorf("a secret is in the log:\n%s%s", first.stderr, second.stderr)
		}
		err := filepath.WalkDir(filepath.Join(dir, ".imagewright"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.Contains(string(text), secret) {
				t.Errorf("a secret is in %s", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	github.Before(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"code":"resource_exhausted","message":"slow down"}`, http.StatusTooManyRequests)
		return true
	})
	runner.state = t.TempDir()
	runner.args = []string{useBase(t), "--cache-from=type=gha,timeout=1s", "--cache-to=type=gha,timeout=1s"}
	if o := runner.build(t); o.code != 0 {
		t.Errorf("without its cache the build exits %d:\n%s", o.code, o.stderr)
	}
}
