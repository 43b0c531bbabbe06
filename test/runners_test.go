package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// TestGitHubRunner runs the pipeline under nektos/act in host mode: the real
// workflow engine, with GITHUB_OUTPUT and all that, but no containers.
func TestGitHubRunner(t *testing.T) {
	p := newProject(t)
	said, err := p.github()
	p.checkPushed(said, err, "github")
}

// TestGitLabRunner runs the generated pipeline.yml under gitlab-ci-local with its
// shell executor: includes, inputs, artifacts and dotenv reports are real.
func TestGitLabRunner(t *testing.T) {
	p := newProject(t)
	said, err := p.gitlab()
	p.checkPushed(said, err, "gitlab")
}

// TestRunnersStopAtAFinding: that nothing is pushed is the CI's doing too, not
// only that of push's own gate.
func TestRunnersStopAtAFinding(t *testing.T) {
	for name, run := range map[string]func(*project) (string, error){"github": (*project).github, "gitlab": (*project).gitlab} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			p.addFinding()
			said, err := run(p)
			p.checkStopped(said, err)
		})
	}
}

// project is a checkout of the application in testdata/app, and a registry that
// has its base image and the vulnerability database.
type project struct {
	t        *testing.T
	dir      string
	home     string
	state    string // the builder's
	registry string
	commit   string
}

func newProject(t *testing.T) *project {
	t.Helper()
	work := t.TempDir()
	p := &project{
		t: t, dir: filepath.Join(work, "app"), home: filepath.Join(work, "home"), state: filepath.Join(work, "state"),
		registry: registry.ForTest(t, registry.Options{}).Addr(),
	}
	if err := os.MkdirAll(p.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(p.dir, os.DirFS("testdata/app")); err != nil {
		t.Fatal(err)
	}
	busybox, err := images.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	// A scan that finds no package at all is no pass.
	layer, err := images.TextLayer(map[string]string{
		"etc/os-release": "ID=example\n",
		"usr/lib/node_modules/hello/package.json": `{"name": "hello", "version": "1.0.0"}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	base, err := images.Compose(busybox, []images.Step{{CreatedBy: "COPY node_modules", Layer: layer}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(p.reference("base:1"), base); err != nil {
		t.Fatal(err)
	}
	if _, err := database.Seed(t.Context(), p.reference("trivy-db:2"), database.Options{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *project) reference(repository string) name.Reference {
	p.t.Helper()
	ref, err := name.ParseReference(p.registry + "/" + repository)
	if err != nil {
		p.t.Fatal(err)
	}
	return ref
}

func (p *project) copy(from, to string) {
	p.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		p.t.Fatal(err)
	}
	to = filepath.Join(p.dir, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// addFinding puts a library with a critical vulnerability, CVE-2021-44906, into
// the application's image.
func (p *project) addFinding() {
	p.t.Helper()
	for file, text := range map[string]string{
		"minimist.json": `{"name": "minimist", "version": "1.2.5"}`,
		"Dockerfile":    "FROM busybox:1.36\nCOPY minimist.json /usr/lib/node_modules/minimist/package.json\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *project) github() (string, error) {
	p.t.Helper()
	p.copy("testdata/github/pipeline.yml", ".github/workflows/pipeline.yml")
	return p.run(filepath.Join("..", "bin", "tools", "act"), "push",
		"--workflows", ".github/workflows/pipeline.yml",
		"--platform", "ubuntu-latest=-self-hosted",
		"--no-cache-server",
		"--env", "REGISTRY="+p.registry, "--env", "STATE="+p.state,
	)
}

func (p *project) gitlab() (string, error) {
	p.t.Helper()
	p.copy("testdata/gitlab/.gitlab-ci.yml", ".gitlab-ci.yml")
	p.copy("../gitlab-templates/pipeline.yml", "gitlab-templates/pipeline.yml")
	return p.run(filepath.Join("..", "bin", "tools", "gitlab-ci-local"),
		"--force-shell-executor", "--home", p.home,
		"--variable", "REGISTRY="+p.registry, "--variable", "STATE="+p.state,
	)
}

// run commits all that is in the checkout and runs a runner there, with our
// programs on its PATH and nothing else of our environment. It returns all that
// was said, and an error if the run ended red.
func (p *project) run(runner string, args ...string) (said string, red error) {
	p.t.Helper()
	commit, err := checkout.Commit(p.dir, checkout.Options{When: commitDate()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.commit = commit
	runner, err = filepath.Abs(runner)
	if err != nil {
		p.t.Fatal(err)
	}
	programs, err := filepath.Abs(bin())
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), runner, args...)
	cmd.Dir = p.dir
	cmd.Env = []string{
		"PATH=" + programs + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + p.home, "XDG_CACHE_HOME=" + filepath.Join(p.home, ".cache"), "TMPDIR=" + p.t.TempDir(),
		"REGISTRY=" + p.registry, "STATE=" + p.state,
	}
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%s: %v\n%s", filepath.Base(runner), err, out)
	}
	return string(out), err
}

// checkPushed holds a run to have ended green, and what its last job said to
// what the registry has.
func (p *project) checkPushed(said string, red error, repository string) {
	p.t.Helper()
	if red != nil {
		p.t.Fatalf("the run ended red: %v\n%s", red, said)
	}
	version := "v1.2.3-20231125-" + p.commit[:7]
	if !strings.Contains(said, "version="+version) {
		p.t.Errorf("version %s did not reach the last job:\n%s", version, said)
	}
	pushed := regexp.MustCompile(`pushed=(sha256:[0-9a-f]{64})`).FindStringSubmatch(said)
	if pushed == nil {
		p.t.Fatalf("no digest reached the last job:\n%s", said)
	}
	got, err := remote.Head(p.reference(repository + ":" + version))
	if err != nil {
		p.t.Fatal(err)
	}
	if got.Digest.String() != pushed[1] {
		p.t.Errorf("the jobs say %s, the registry has %s", pushed[1], got.Digest)
	}
}

// checkStopped holds a run to have ended red at the scan, before push began, and
// the registry to have nothing of the image.
func (p *project) checkStopped(said string, red error) {
	p.t.Helper()
	if red == nil {
		p.t.Errorf("the run ended green:\n%s", said)
	}
	for _, want := range []string{"CVE-2021-44906", "1 CRITICAL; fail-on critical"} {
		if !strings.Contains(said, want) {
			p.t.Errorf("%q is not in what the run said, which ended for another reason:\n%s", want, said)
		}
	}
	if strings.Contains(said, "imagewright-push") { // each runner names what it starts
		p.t.Errorf("push was started:\n%s", said)
	}
	repositories, err := remote.Catalog(p.t.Context(), p.reference("base:1").Context().Registry)
	if err != nil {
		p.t.Fatal(err)
	}
	if want := []string{"base", "trivy-db"}; !slices.Equal(slices.Sorted(slices.Values(repositories)), want) {
		p.t.Errorf("the registry has %q, want %q and nothing of the image", repositories, want)
	}
}
