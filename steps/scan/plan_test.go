package scan

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/step"
)

func TestTheCacheOfAForkIsOutsideTheCheckout(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(home, ".cache", "imagewright")
	for _, tc := range []struct {
		name, input, home string
		fork              bool
		want              string // "" is an error
	}{
		{"of the repository, in the checkout", "cache", home, false, filepath.Join(dir, "cache")},
		{"of the repository, nowhere else", "", "", false, filepath.Join(dir, ".imagewright", "cache")},
		{"outside", own, "", true, own},
		{"in the checkout", "cache", home, true, own},
		{"by a link into the checkout", link, home, true, own},
		{"not named", "", home, true, own},
		{"nowhere else", "cache", "", true, ""},
		{"at home in the checkout", "", dir, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			job := &step.Job{
				Process:   step.Process{Dir: dir, Environ: []string{"HOME=" + tc.home}},
				Workspace: filepath.Join(dir, ".imagewright"),
				CI:        ci.Context{Fork: tc.fork},
				Log:       slog.New(slog.DiscardHandler),
			}
			got, err := cacheDir(tc.input, job)
			if got != tc.want || (err != nil) != (tc.want == "") {
				t.Errorf("the cache is %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}
