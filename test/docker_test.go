package test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/dockerd"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// dockerWorld is a Docker Engine beside a registry with a base image, and a
// checkout. Docker 20.10, which is what Debian 12 has, knows no named contexts
// and no network without its bridge.
type dockerWorld struct {
	*world
	engine *dockerd.Engine
}

// plain are the arguments of every build here.
func plain(args ...string) []string {
	return append([]string{"--network=none", "--build-contexts="}, args...)
}

func newDockerWorld(t *testing.T) dockerWorld {
	t.Helper()
	w := dockerWorld{&world{registry: registry.ForTest(t, registry.Options{}), checkout: t.TempDir()}, dockerd.Start(t)}
	base, err := images.Busybox()
	check(t, err)
	check(t, remote.Write(w.reference(t, "base:1"), base))
	for name, text := range map[string]string{
		".gitignore":        ".imagewright/\n",
		"one.txt":           "one\n",
		"asking.Dockerfile": "FROM " + w.registry.Addr() + "/base:1\nRUN --network=host echo > /asked\n",
		"Dockerfile": "FROM " + w.registry.Addr() + "/base:1 AS made\nRUN mkdir -p /a/b && echo two > /a/b/two.txt && rm /bin/vi\n" +
			"FROM " + w.registry.Addr() + "/base:1\nCOPY one.txt /one/\nCOPY --from=made /a /a\nRUN ln -s /one/one.txt /link && chmod 0700 /one\nCMD [\"cat\", \"/link\"]\n",
	} {
		check(t, os.WriteFile(filepath.Join(w.checkout, name), []byte(text), 0o644))
	}
	_, err = checkout.Commit(w.checkout, checkout.Options{When: commitDate()})
	check(t, err)
	return w
}

// runs is a scene's command on the engine.
func (w dockerWorld) runs(s *scene, args ...string) (code int, said string) {
	s.t.Helper()
	cmd := s.command("build", plain(args...)...)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+w.engine.Socket)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Every way through a Docker Engine makes the image that the engine inside
// imagewright-build makes. The classic store alone does not: it forgets how its
// base was compressed, its RUN steps touch /etc, and the BuildKit of Docker 20.10
// writes an empty OnBuild. So what is in the image is compared, and its digest
// with that of a second build.
func TestBuildersOfADockerEngineMakeTheSameImage(t *testing.T) {
	w := newDockerWorld(t)
	here := w.copied(t)
	here.must("build", plain("--builder=embedded")...)
	want := here.builtDigest()
	w.importStep(t)
	w.startBuildkitd(t)
	t.Cleanup(func() { w.removeAll(t) })

	for _, tc := range []struct {
		builder, where string
		args           []string
	}{
		{"docker", "building on docker ", nil},
		{"docker-container://buildkitd", "building on docker-container://buildkitd ", nil},
		{"docker-privileged", "building on a privileged container of docker ", []string{"--builder-image=step"}},
	} {
		t.Run(tc.builder, func(t *testing.T) {
			s := w.copied(t)
			want := want
			for _, again := range [][]string{nil, {"--no-cache"}} {
				code, said := w.runs(s, slices.Concat(tc.args, again, []string{"--builder=" + tc.builder})...)
				if code != 0 {
					t.Fatalf("exit %d:\n%s", code, said)
				}
				if !strings.Contains(said, tc.where) {
					t.Errorf("the log does not say where it builds:\n%s", said)
				}
				if diff := cmp.Diff(here.files(), s.files()); diff != "" {
					t.Errorf("the files in the image are not those that embedded makes (-embedded +%s):\n%s", tc.builder, diff)
				}
				if tc.builder == "docker" && again == nil {
					want = s.builtDigest()
				}
				if got := s.builtDigest(); got != want {
					t.Errorf("it makes %s %q; want %s", got, again, want)
				}
			}
		})
	}

	t.Run("the builder is removed, and nothing is left", func(t *testing.T) {
		s := w.copied(t)
		code, said := w.runs(s, "--builder=docker-privileged", "--builder-image=step", "--builder-rm", "--file=asking.Dockerfile", "--allow=network.host", "--network=default")
		if code != 0 {
			t.Fatalf("exit %d:\n%s", code, said)
		}
		w.checkLeft(t, []string{"buildkitd"}, []string{"step:latest"})
	})
	// As a container action of GitHub has it: a socket of Docker's and a checkout.
	t.Run("in an unprivileged container the builder is a sibling", func(t *testing.T) {
		s := w.copied(t)
		said := w.runStep(t, s.dir, "--builder-rm")
		if !strings.Contains(said, "building on a privileged container of docker at unix:///var/run/docker.sock") {
			t.Errorf("it was not built in a sibling:\n%s", said)
		}
		if got := s.builtDigest(); got != want {
			t.Errorf("it makes %s; embedded makes %s", got, want)
		}
		w.checkLeft(t, []string{"buildkitd"}, []string{"step:latest"})
	})
	t.Run("what the classic store cannot do is refused with another way", func(t *testing.T) {
		for _, args := range [][]string{
			{"--cache-to=type=registry,ref=REGISTRY/cache:1", "cache-to: "},
			{"--platforms=linux/amd64,linux/arm64", "platforms: "},
		} {
			code, said := w.runs(w.copied(t), "--builder=docker", args[0])
			if code != fault.ExitUsage || !strings.Contains(said, args[1]+"a Docker Engine with its classic image store") || !strings.Contains(said, "builder=embedded") {
				t.Errorf("%s: exit %d; want %d, the reason and the alternative:\n%s", args[0], code, fault.ExitUsage, said)
			}
		}
	})
}

// What an older BuildKit does not know, it passes over, and builds something else.
func TestWhatAnOlderDockerEngineWouldPassOverIsRefused(t *testing.T) {
	w := newDockerWorld(t)
	check(t, os.WriteFile(filepath.Join(w.checkout, "newer.Dockerfile"), []byte("FROM scratch\nCOPY <<EOT /greeting\nhello\nEOT\n"), 0o644))
	old := "the BuildKit of docker 20.10"
	for _, tc := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--memory=1g", "--ulimit=nofile=1024", "--shm-size=64m"}, fault.ExitUsage, []string{"input memory: " + old, "input ulimit: " + old, "input shm-size: " + old}},
		{[]string{"--cpus=1.5", "--cgroup-parent=builds"}, fault.ExitUsage, []string{"input cpus: " + old, "input cgroup-parent: " + old}},
		{[]string{"--build-contexts=" + w.registry.Addr() + "/base:1=."}, fault.ExitUsage, []string{"input build-contexts: " + old, "# syntax=docker/dockerfile:1"}},
		{[]string{"--call=check"}, fault.ExitUsage, []string{"input call: \"check\": the builder has an older BuildKit"}},
		{[]string{"--call=targets"}, fault.ExitUsage, []string{"input call: \"targets\": the builder has an older BuildKit"}},
		{[]string{"--outputs=type=local,dest=out"}, fault.ExitUsage, []string{"input outputs: "}},
		{[]string{"--outputs=type=tar,dest=out.tar"}, fault.ExitUsage, []string{"input outputs: "}},
		{[]string{"--outputs=-"}, fault.ExitUsage, []string{"input outputs: "}},
		{[]string{"--file=newer.Dockerfile"}, fault.ExitFailed, []string{"newer.Dockerfile:3: unknown instruction", "# syntax=docker/dockerfile:1"}},
	} {
		s := w.copied(t)
		code, said := w.runs(s, append(tc.args, "--builder=docker")...)
		if code != tc.code {
			t.Errorf("%q: exit %d, want %d:\n%s", tc.args, code, tc.code, said)
		}
		for _, want := range append(tc.want, "builder=embedded") {
			if !strings.Contains(said, want) {
				t.Errorf("%q: %q is missing:\n%s", tc.args, want, said)
			}
		}
		if _, err := os.Stat(filepath.Join(s.dir, ".imagewright", "record", "build.json")); err == nil {
			t.Errorf("%q: an image is recorded", tc.args)
		}
	}
}

// files are those in the image that the scene built, by path: what each is, and
// a digest of its content.
func (s *scene) files() map[string]string {
	s.t.Helper()
	layout, err := image.OpenLayout(filepath.Join(s.dir, ".imagewright", "image"))
	check(s.t, err)
	digest, err := v1.NewHash(s.builtDigest())
	check(s.t, err)
	built, err := layout.Image(digest)
	check(s.t, err)
	flat := mutate.Extract(built)
	defer flat.Close()
	found := map[string]string{}
	for archive := tar.NewReader(flat); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return found
		}
		check(s.t, err)
		content := sha256.New()
		_, err = io.Copy(content, archive)
		check(s.t, err)
		date := header.ModTime.UTC().Format(time.DateTime)
		if header.Typeflag == tar.TypeDir {
			date = "" // of /etc, which a builder's own files in it change
		}
		found[header.Name] = fmt.Sprintf("%c %o %d:%d %s %x %s", header.Typeflag, header.Mode, header.Uid, header.Gid, header.Linkname, content.Sum(nil), date)
	}
}

// importStep gives the engine the image step, as imagewright-build's own is.
func (w dockerWorld) importStep(t *testing.T) {
	t.Helper()
	program, err := filepath.Abs(filepath.Join(bin(), "imagewright-build"))
	check(t, err)
	w.engine.Import(t, "step", map[string]string{
		"usr/bin/imagewright-build": program, "usr/bin/runc": runcPath(t),
		"usr/bin/buildkitd": "../bin/tools/buildkitd", "usr/bin/buildctl": "../bin/tools/buildctl",
	})
}

func runcPath(t *testing.T) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if path := filepath.Join(dir, "runc"); filepath.IsAbs(path) {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	t.Fatal("there is no runc; make packages-demo installs it")
	return ""
}

// startBuildkitd starts a container of that name, as docker buildx makes them.
func (w dockerWorld) startBuildkitd(t *testing.T) {
	t.Helper()
	created, err := w.engine.API.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:   "buildkitd",
		Config: &container.Config{Image: "step", Entrypoint: []string{"buildkitd"}, Cmd: []string{"--oci-worker-net=host", "--containerd-worker=false"}},
		HostConfig: &container.HostConfig{
			Privileged: true, NetworkMode: "host", Tmpfs: map[string]string{"/run": "", "/var/lib/buildkit": ""},
		},
	})
	check(t, err)
	_, err = w.engine.API.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{})
	check(t, err)
}

// runStep runs imagewright-build in a container of the engine, in the checkout,
// and returns what it said. It must succeed.
func (w dockerWorld) runStep(t *testing.T, dir string, args ...string) string {
	t.Helper()
	created, err := w.engine.API.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &container.Config{
			Image: "step", Entrypoint: []string{"imagewright-build"}, Cmd: plain(args...), WorkingDir: "/checkout", Env: []string{"HOME=/tmp"},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "host", Binds: []string{dir + ":/checkout", w.engine.Socket + ":/var/run/docker.sock"},
		},
	})
	check(t, err)
	id := created.ID
	defer func() {
		_, err := w.engine.API.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true})
		check(t, err)
	}()
	_, err = w.engine.API.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
	check(t, err)
	logs, err := w.engine.API.ContainerLogs(t.Context(), id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	check(t, err)
	defer logs.Close()
	var said bytes.Buffer
	_, err = stdcopy.StdCopy(io.Discard, &said, logs)
	check(t, err)
	ended, err := w.engine.API.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	check(t, err)
	if code := ended.Container.State.ExitCode; code != 0 {
		t.Fatalf("in a container it ended with code %d:\n%s", code, &said)
	}
	return said.String()
}

// checkLeft fails the test unless the engine holds these containers and images
// and no others, and no volume.
func (w dockerWorld) checkLeft(t *testing.T, containers, names []string) {
	t.Helper()
	var got struct{ containers, images, volumes []string }
	all, err := w.engine.API.ContainerList(t.Context(), client.ContainerListOptions{All: true})
	check(t, err)
	for _, c := range all.Items {
		got.containers = append(got.containers, strings.TrimPrefix(strings.Join(c.Names, " "), "/"))
	}
	held, err := w.engine.API.ImageList(t.Context(), client.ImageListOptions{All: true})
	check(t, err)
	for _, i := range held.Items {
		got.images = append(got.images, strings.Join(i.RepoTags, " "))
	}
	volumes, err := w.engine.API.VolumeList(t.Context(), client.VolumeListOptions{})
	check(t, err)
	for _, v := range volumes.Items {
		got.volumes = append(got.volumes, v.Name)
	}
	if strings.Join(got.containers, ",") != strings.Join(containers, ",") || strings.Join(got.images, ",") != strings.Join(names, ",") || len(got.volumes) > 0 {
		t.Errorf("the engine holds %+v; want the containers %q, the images %q and no volume", got, containers, names)
	}
}

// removeAll removes every container at once; an engine that stops asks them to
// go first.
func (w dockerWorld) removeAll(t *testing.T) {
	t.Helper()
	all, err := w.engine.API.ContainerList(context.Background(), client.ContainerListOptions{All: true})
	check(t, err)
	for _, c := range all.Items {
		_, err := w.engine.API.ContainerRemove(context.Background(), c.ID, client.ContainerRemoveOptions{Force: true})
		check(t, err)
	}
}
