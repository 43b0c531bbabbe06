package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// endTimeout is how long a signalled program may take to be gone: some
// milliseconds, on an idle machine.
const endTimeout = 30 * time.Second

// world is what all scenes share: a registry with a database and a base image,
// and a checkout in which the pipeline has run.
type world struct {
	registry *registry.Server
	stored   string // where the registry keeps what it has, if that matters
	checkout string
	scenes   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{registry: registry.ForTest(t, registry.Options{}), checkout: t.TempDir()}
	base, err := images.Busybox()
	check(t, err)
	check(t, remote.Write(w.reference(t, "base:1"), base))
	_, err = database.Seed(t.Context(), w.reference(t, "trivy-db:2"), database.Options{})
	check(t, err)
	const copies = "COPY package.json /usr/lib/node_modules/hello/\nCOPY *.txt /\n"
	for name, text := range map[string]string{
		"VERSION":          "1.0.0\n",
		".gitignore":       ".imagewright/\n",
		"package.json":     `{"name": "hello", "version": "1.0.0"}`,
		"changes.txt":      "first\n",
		"first.Dockerfile": "FROM scratch\n" + copies,
		"Dockerfile":       "FROM base\n" + copies + "RUN true\n",
		"busy.Dockerfile":  "FROM base\nRUN echo begun; sleep 1000\n",
	} {
		check(t, os.WriteFile(filepath.Join(w.checkout, name), []byte(text), 0o644))
	}
	_, err = checkout.Commit(w.checkout, checkout.Options{When: commitDate()})
	check(t, err)
	s := w.sceneIn(t, w.checkout)
	s.must("build", "--file=first.Dockerfile")
	s.must("scan")
	s.must("tag")
	s.must("push", "--images=REGISTRY/app")
	return w
}

func (w *world) reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(w.registry.Addr() + "/" + s)
	check(t, err)
	return ref
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scene is one checkout, with a builder, a cache, repositories and a way to the
// registry of its own.
type scene struct {
	t      *testing.T
	world  *world
	dir    string // the checkout
	own    string // builder and cache
	number int
	turns  int // taken so far
	proxy  *stallingProxy
}

// newScene is a copy of the world's checkout. Its repository old has three
// versions.
func (w *world) newScene(t *testing.T) *scene {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	check(t, os.CopyFS(dir, os.DirFS(w.checkout)))
	s := w.sceneIn(t, dir)
	for _, tag := range []string{"v1.0.0", "v1.1.0", "v1.2.0"} {
		s.addOldImage(tag)
	}
	return s
}

func (w *world) sceneIn(t *testing.T, dir string) *scene {
	t.Helper()
	w.scenes++
	return &scene{t: t, world: w, dir: dir, own: t.TempDir(), number: w.scenes, proxy: newStallingProxy(t, w.registry.Addr())}
}

// repository is one of the scene's own in the registry: new or old.
func (s *scene) repository(name string) string { return fmt.Sprintf("%s-%d", name, s.number) }

func (s *scene) addOldImage(tag string) {
	s.t.Helper()
	layer, err := images.TextLayer(map[string]string{"name": tag})
	check(s.t, err)
	made, err := images.Compose(nil, []images.Step{{CreatedBy: "COPY name", Layer: layer}}, nil)
	check(s.t, err)
	check(s.t, remote.Write(s.world.reference(s.t, s.repository("old")+":"+tag), made))
}

// command is a step, ready to run in the scene's checkout, with nothing of our
// environment but PATH.
func (s *scene) command(step string, args ...string) *exec.Cmd {
	program, err := filepath.Abs(filepath.Join(bin(), "imagewright-"+step))
	check(s.t, err)
	place := strings.NewReplacer("REGISTRY/new", s.proxy.addr+"/"+s.repository("new"),
		"REGISTRY/old", s.proxy.addr+"/"+s.repository("old"), "REGISTRY", s.proxy.addr)
	cmd := exec.Command(program)
	for _, arg := range args {
		cmd.Args = append(cmd.Args, place.Replace(arg))
	}
	cmd.Dir = s.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.own, "TMPDIR=" + s.own,
		"IMAGEWRIGHT_BUILD_STATE_DIR=" + filepath.Join(s.own, "state"),
		"IMAGEWRIGHT_BUILD_PROGRESS=plain",
		place.Replace("IMAGEWRIGHT_BUILD_BUILD_CONTEXTS=base=docker-image://REGISTRY/base:1"),
		place.Replace("IMAGEWRIGHT_SCAN_DB_REPOSITORY=REGISTRY/trivy-db:2"),
	}
	return cmd
}

// must runs a step that must succeed.
func (s *scene) must(step string, args ...string) {
	s.t.Helper()
	if code, said := s.run(step, args...); code != 0 {
		s.t.Fatalf("imagewright-%s %q ended with code %d:\n%s", step, args, code, said)
	}
}

// run runs a step to its end.
func (s *scene) run(step string, args ...string) (code int, said string) {
	s.t.Helper()
	r := s.start(step, args...)
	r.await(s.t)
	return r.cmd.ProcessState.ExitCode(), r.stderr.String()
}

// run is a program that was started.
type run struct {
	cmd    *exec.Cmd
	step   string
	stderr *watchedBuffer
	ended  chan struct{} // closed when it has
}

func (s *scene) start(step string, args ...string) *run {
	s.t.Helper()
	return s.begin(step, s.command(step, args...))
}

// begin starts a command of the scene.
func (s *scene) begin(step string, cmd *exec.Cmd) *run {
	s.t.Helper()
	r := &run{cmd: cmd, step: step, stderr: &watchedBuffer{}, ended: make(chan struct{})}
	r.cmd.Stderr = r.stderr
	check(s.t, r.cmd.Start())
	go func() {
		_ = r.cmd.Wait() // its state is looked at
		close(r.ended)
	}()
	s.t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // an error: it has ended
		<-r.ended
	})
	return r
}

func (r *run) await(t *testing.T) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(2 * endTimeout):
		t.Fatalf("imagewright-%s does not end:\n%s", r.step, r.stderr)
	}
}

func (s *scene) holdings() map[string]string {
	s.t.Helper()
	found, err := readTree(filepath.Join(s.dir, ".imagewright"), "record", "image")
	check(s.t, err)
	return found
}

func (s *scene) checkHoldings(step string, before map[string]string) {
	s.t.Helper()
	if problem := changedHoldings(step, before, s.holdings()); problem != "" {
		s.t.Error(problem)
	}
}

// checkNothingRuns waits until the processes that were below a step are gone,
// and all that is this scene's with them.
func (s *scene) checkNothingRuns(below []process) {
	s.t.Helper()
	deadline := time.After(endTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := s.left(below)
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Errorf("it left behind: %s", left)
			return
		}
	}
}

func (s *scene) left(below []process) string {
	for _, p := range below {
		if now := p.read("cmdline"); now != "" && now == p.arguments {
			return fmt.Sprintf("process %d, %q", p.id, now)
		}
	}
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline") // only a bad pattern is an error
	for _, path := range paths {
		if text, _ := os.ReadFile(path); bytes.Contains(text, []byte(s.own)) {
			return fmt.Sprintf("%s, %q", path, text)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(s.t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.own) || strings.Contains(line, s.dir) {
			return "mount " + line
		}
	}
	return ""
}

// recorded is what build, and tag, recorded.
func (s *scene) recorded() (digest string, tags []string) {
	s.t.Helper()
	workspace := filepath.Join(s.dir, ".imagewright")
	build, err := record.Read[record.Build](workspace, "build")
	check(s.t, err)
	tag, err := record.Read[record.Tag](workspace, "tag")
	check(s.t, err)
	return build.Image.Digest, tag.Tags
}

// at is the digest of a tag in the registry, empty when there is none.
func (s *scene) at(repository, tag string) string {
	s.t.Helper()
	desc, err := remote.Head(s.world.reference(s.t, s.repository(repository)+":"+tag))
	if err != nil {
		return ""
	}
	return desc.Digest.String()
}
