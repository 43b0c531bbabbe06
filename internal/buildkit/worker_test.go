package buildkit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	fuseoverlayfs "github.com/containerd/fuse-overlayfs-snapshotter/v2"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
	"github.com/moby/buildkit/client"
)

// putBase sends an image of one busybox to a registry.
func putBase(t *testing.T, e *Engine, ref string) {
	t.Helper()
	s := mustSolve(t, e, buildContext(t, "FROM scratch\nCOPY busybox /bin/busybox\n", nil), nil)
	img, err := s.layout.Image(s.root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
}

func TestAMirrorIsAskedBeforeItsRegistry(t *testing.T) {
	mirror := registrytest.Start(t)
	behind := registrytest.Start(t)
	e := start(t, options(t, t.TempDir()))
	putBase(t, e, mirror.Host+"/team/base:1")
	putBase(t, e, mirror.Host+"/proxied/hub/library/base:1")
	putBase(t, e, behind.Host+"/late/base:1")
	stop(t, e)
	mirror.Forget()
	behind.Forget()

	o := options(t, t.TempDir())
	o.Mirrors = map[string][]string{
		"registry.invalid": {mirror.Host},
		"docker.io":        {mirror.Host + "/proxied/hub"},
		behind.Host:        {"127.0.0.1:1", mirror.Host}, // the first does not answer, the second has nothing
	}
	e = start(t, o)
	defer stop(t, e)
	for _, from := range []string{"registry.invalid/team/base:1", "base:1", behind.Host + "/late/base:1"} {
		mustSolve(t, e, buildContext(t, "FROM "+from+"\nRUN [\"/bin/busybox\", \"true\"]\n", nil), nil)
	}
	asked := fmt.Sprint(behind.Requests())
	if strings.Contains(asked, "team") || !strings.Contains(asked, "late/base") {
		t.Errorf("the registry behind the mirrors was asked for %s", asked)
	}
}

func TestABuildIsGrantedWhatTheEngineAllows(t *testing.T) {
	dir := buildContext(t, `FROM scratch
COPY busybox /busybox
RUN --security=insecure ["/busybox", "sh", "-c", "/busybox grep CapEff /proc/self/status"]
`, nil)
	asking := func(allow ...string) func(*client.SolveOpt) {
		return func(o *client.SolveOpt) { o.AllowedEntitlements = allow }
	}
	o := options(t, t.TempDir())
	o.Entitlements = []string{"security.insecure"}
	e := start(t, o)
	defer stop(t, e)
	if s := solve(t, e, dir, asking()); s.err == nil || !strings.Contains(s.err.Error(), "security.insecure is not allowed") {
		t.Errorf("a build that did not ask for it: %v", s.err)
	}
	if s := mustSolve(t, e, dir, asking("security.insecure")); strings.Contains(s.log, "CapEff:\t00000000a80425fb") {
		t.Errorf("an insecure step has no more rights than others:\n%s", s.log)
	}
	if s := solve(t, e, dir, asking("network.host")); s.err == nil || !strings.Contains(s.err.Error(), "network.host is not allowed") {
		t.Errorf("a build that asks for what the engine does not grant: %v", s.err)
	}
}

func TestAStepHasItsLimits(t *testing.T) {
	t.Cleanup(func() { // the runtime makes them, and leaves those above a step's own
		for _, pattern := range []string{"/sys/fs/cgroup/*/imagewright-test", "/sys/fs/cgroup/imagewright-test"} {
			parents, _ := filepath.Glob(pattern) // only a wrong pattern is an error
			for _, parent := range parents {
				os.Remove(filepath.Join(parent, "buildkit"))
				os.Remove(parent)
			}
		}
	})
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	// Version 1 of control groups names its files otherwise than version 2.
	dir := buildContext(t, `FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "\
  cd /sys/fs/cgroup; for f in memory/memory.limit_in_bytes memory.max; do [ -f $f ] && echo memory $(/busybox cat $f); done; \
  for f in cpu/cpu.cfs_quota_us cpu.max; do [ -f $f ] && echo quota $(/busybox cat $f); done; \
  for f in cpuset/cpuset.cpus cpuset.cpus; do [ -f $f ] && echo cpus $(/busybox cat $f); done; \
  echo files $(ulimit -n); echo shm $(/busybox df -k /dev/shm | /busybox awk 'NR==2{print $2}'); echo group $(/busybox cat /proc/self/cgroup)"]
`, nil)
	s := mustSolve(t, e, dir, func(o *client.SolveOpt) {
		for name, value := range map[string]string{
			"memory": "67108864", "memswap": "67108864", "cpuquota": "50000", "cpuperiod": "100000", "cpusetcpus": "0",
			"ulimit": "nofile=123:456", "shm-size": "33554432", "cgroup-parent": "imagewright-test",
		} {
			o.FrontendAttrs[name] = value
		}
	})
	for _, want := range []string{"memory 67108864", "quota 50000", "cpus 0", "files 123", "shm 32768"} {
		if !strings.Contains(s.log, want) {
			t.Errorf("the step has not %q:\n%s", want, s.log)
		}
	}
}

// A frontend image is a program of a stranger: it runs as a step does, and
// speaks to the engine.
func TestAFrontendFromARegistryBuilds(t *testing.T) {
	host := registrytest.Start(t).Host
	program := filepath.Join(t.TempDir(), "frontend")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	s := mustSolve(t, e, buildContext(t, "FROM scratch\nCOPY frontend /bin/dockerfile-frontend\nENTRYPOINT [\"/bin/dockerfile-frontend\"]\n", map[string]string{"frontend": string(text)}), nil)
	img, err := s.layout.Image(s.root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(host + "/frontend:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	const rest = "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"true\"]\n"
	own := mustSolve(t, e, buildContext(t, rest, nil), nil)
	foreign := mustSolve(t, e, buildContext(t, "# syntax="+host+"/frontend:1\n"+rest, nil), nil)
	if foreign.root.Digest != own.root.Digest {
		t.Errorf("built by the frontend in the registry %s, by our own %s", foreign.root.Digest, own.root.Digest)
	}
}

func TestSourcesComeFromGit(t *testing.T) {
	repository := filepath.Join(t.TempDir(), "app.git")
	dir := buildContext(t, "FROM scratch\nCOPY one.txt /\n", map[string]string{"one.txt": "1\n"})
	for _, args := range [][]string{
		{"init", "-q", "-b", "main", dir}, {"-C", dir, "add", "Dockerfile", "one.txt"},
		{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "one"},
		{"clone", "-q", "--bare", dir, repository}, {"-C", repository, "update-server-info"},
	} {
		git := exec.Command("git", args...)
		git.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := git.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	files := http.FileServer(http.Dir(filepath.Dir(repository)))
	server := registrytest.Fake(t, files.ServeHTTP)
	e := start(t, options(t, t.TempDir()))
	defer stop(t, e)
	s := mustSolve(t, e, dir, func(o *client.SolveOpt) {
		o.LocalMounts = nil
		o.FrontendAttrs["context"] = "http://" + server.Host + "/app.git#main"
	})
	if !slices.ContainsFunc(s.ran, func(step string) bool { return strings.Contains(step, "COPY one.txt") }) {
		t.Errorf("steps %q; want the one that copies from git", s.ran)
	}
}

func TestACacheInsideTheImageChangesNoDigestFromBuildToBuild(t *testing.T) {
	host := registrytest.Start(t).Host
	dir := buildContext(t, "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"touch\", \"/done\"]\n", nil)
	inline := func(o *client.SolveOpt) { o.CacheExports = []client.CacheOptionsEntry{{Type: "inline"}} }
	e := start(t, options(t, t.TempDir()))
	first := mustSolve(t, e, dir, inline)
	stop(t, e)
	img, err := first.layout.Image(first.root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Cache []byte `json:"moby.buildkit.cache.v0"`
	}
	if err := json.Unmarshal(raw, &config); err != nil || !strings.Contains(string(config.Cache), "2023-11-14T22:13:20Z") {
		t.Errorf("records of the image %s (%v); want them, with the build's date", config.Cache, err)
	}
	tag, err := name.NewTag(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	for _, from := range []client.CacheOptionsEntry{{}, {Type: "registry", Attrs: map[string]string{"ref": tag.String()}}} {
		e := start(t, options(t, t.TempDir()))
		again := mustSolve(t, e, dir, func(o *client.SolveOpt) {
			inline(o)
			if from.Type != "" {
				o.CacheImports = []client.CacheOptionsEntry{from}
			}
		})
		stop(t, e)
		if again.root.Digest != first.root.Digest {
			t.Errorf("digest %s, want %s (cache %q)", again.root.Digest, first.root.Digest, from.Type)
		}
		if from.Type != "" && again.ranRUN() {
			t.Errorf("with the image as cache these ran: %q", again.ran)
		}
	}
}

func TestTheSnapshotterThatIsNamedIsUsed(t *testing.T) {
	if _, err := openSnapshotter("zfs", t.TempDir()); err == nil || !strings.Contains(err.Error(), `"zfs"`) {
		t.Errorf("an unknown snapshotter: %v", err)
	}
	if got := bestSnapshotter(t.TempDir()); got != "overlayfs" {
		t.Errorf("bestSnapshotter() = %q; tests run as root on a file system that takes overlays", got)
	}
}

func TestLayersAreTheSameOverFuse(t *testing.T) {
	if err := fuseoverlayfs.Supported(t.TempDir()); err != nil {
		t.Skipf("this machine has no fuse-overlayfs that works: %v", err) // a kernel may have no fuse
	}
	dir := buildContext(t, varied, map[string]string{"one.txt": "1\n", "two.txt": "2\n"})
	var first string
	for _, name := range []string{"overlayfs", "fuse-overlayfs"} {
		o := options(t, t.TempDir())
		o.snapshotter = name
		e := start(t, o)
		if e.Snapshotter() != name {
			t.Errorf("Snapshotter() = %q, want %q", e.Snapshotter(), name)
		}
		got, _ := mustBuild(t, e, dir, newLayout(t), "1700000000")
		stop(t, e)
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("digest over %s is %s, want %s", name, got, first)
		}
	}
}
