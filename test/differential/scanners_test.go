package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/imagewright/imagewright/test/images"
)

// limit is how long one program may take for one image.
const limit = 5 * time.Minute

// scanners are the two programs, and the caches that hold the same databases.
type scanners struct {
	ours, trivy           string // absolute
	oursCache, trivyCache string
	home                  string
}

func newScanners(t *testing.T, src sources) *scanners {
	t.Helper()
	s := &scanners{oursCache: t.TempDir(), trivyCache: t.TempDir(), home: t.TempDir()}
	for path, absolute := range map[string]*string{ours(): &s.ours, trivy(): &s.trivy} {
		var err error
		if *absolute, err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
	}
	src.writeDatabases(t, s.oursCache)
	if err := os.CopyFS(s.trivyCache, os.DirFS(s.oursCache)); err != nil {
		t.Fatal(err)
	}
	return s
}

// compare has both programs scan a fixture and returns what they differ in. A
// program that gives no report has refused: that is the only difference then.
func (s *scanners) compare(t *testing.T, f fixture) []difference {
	t.Helper()
	dir := t.TempDir()
	writeImage(t, filepath.Join(dir, "image"), f)
	trivySays, trivyRefuses := s.scanWithTrivy(t, dir, f)
	if trivyRefuses == "" {
		t.Logf("trivy: %s", summary(trivySays))
	}
	if found(trivySays) == 0 && trivyRefuses == "" && !f.nothing {
		t.Error("Trivy finds nothing in this image, so it proves nothing")
	}
	oursSays, oursRefuses := s.scanWithOurs(t, dir, f)
	if oursRefuses != "" || trivyRefuses != "" {
		return refusals(oursRefuses, trivyRefuses)
	}
	// Now each layer is in the cache: what comes from there must be the same.
	again, refuses := s.scanWithOurs(t, dir, f)
	if refuses != "" {
		t.Fatalf("imagewright-scan refuses an image that it has scanned before: %s", refuses)
	}
	first := facts(t, oursSays)
	if changed := diff(facts(t, again), first); len(changed) > 0 {
		t.Errorf("a second scan says something else; ours is the second, trivy the first:\n%s", describe(changed))
	}
	return diff(first, facts(t, trivySays))
}

func (s *scanners) scanWithTrivy(t *testing.T, dir string, f fixture) (report object, refusal string) {
	t.Helper()
	return s.run(t, dir, s.trivy, append([]string{
		"image", "--input=./image", "--format=json", "--cache-dir=" + s.trivyCache, "--skip-db-update",
		"--list-all-pkgs", "--skip-java-db-update", "--offline-scan", "--disable-telemetry", "--skip-version-check",
		"--no-progress", "--cache-backend=memory", "--scanners=vuln,secret",
	}, f.args...)...)
}

func (s *scanners) scanWithOurs(t *testing.T, dir string, f fixture) (report object, refusal string) {
	t.Helper()
	return s.run(t, dir, s.ours, append([]string{
		"--source=./image", "--format=json", "--cache-dir=" + s.oursCache, "--skip-db-update", "--skip-java-db-update",
		"--fail-on=none", "--allow-empty", "--reports=json=" + filepath.Join(dir, "report.json"),
	}, f.args...)...)
}

func writeImage(t *testing.T, to string, f fixture) {
	t.Helper()
	image := f.image(t)
	if !f.archive {
		if err := images.WriteLayout(to, image); err != nil {
			t.Fatal(err)
		}
		return
	}
	tag, err := name.NewTag("example.com/differential/" + f.name + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(to, tag, image); err != nil {
		t.Fatal(err)
	}
}

// run returns the report that a program writes to its standard output, or what
// it says when it gives none.
func (s *scanners) run(t *testing.T, dir, program string, args ...string) (report object, refusal string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "TMPDIR=" + dir}
	if err := cmd.Run(); err != nil {
		return nil, err.Error() + ": " + lastLine(stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%s wrote no report: %v\n%s\n%s", program, err, stdout.String(), stderr.String())
	}
	return report, ""
}

// lastLine is where a program says why it gave up.
func lastLine(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return lines[len(lines)-1]
}
