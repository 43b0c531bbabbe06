package test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/ssh"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/buildkitd"
	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// newRemoteWorld is a registry with a base image, and a checkout whose
// Dockerfiles ask for what has to travel to a builder somewhere else.
func newRemoteWorld(t *testing.T) *world {
	t.Helper()
	w := &world{registry: registry.ForTest(t, registry.Options{}), checkout: t.TempDir()}
	base, err := images.Busybox()
	check(t, err)
	check(t, remote.Write(w.reference(t, "base:1"), base))
	check(t, os.Mkdir(filepath.Join(w.checkout, "files"), 0o755))
	for name, text := range map[string]string{
		".gitignore":    ".imagewright/\n",
		".dockerignore": "ignored.txt\n",
		"ignored.txt":   "not sent\n",
		"files/one.txt": "one\n",
		"files/run.sh":  "#!/bin/sh\necho one\n",
		"Dockerfile": `ARG BASE=base
FROM $BASE
ARG WORD
COPY files/ /files/
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = hunter2
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"
RUN echo "$WORD" > /word && chmod 0700 /files/run.sh && rm /files/one.txt && mkdir -p /a/b && ln -s /word /a/b/word
`,
		"once.Dockerfile": "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /once\n",
		"busy.Dockerfile": "FROM base\nRUN echo begun; sleep 1000\n",
		"each.Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY files/ /for-$TARGETARCH/\n",
	} {
		check(t, os.WriteFile(filepath.Join(w.checkout, name), []byte(text), 0o644))
	}
	_, err = checkout.Commit(w.checkout, checkout.Options{When: commitDate()})
	check(t, err)
	return w
}

// copied is a scene in a copy of w's checkout: the same commit, and files with
// other dates.
func (w *world) copied(t *testing.T) *scene {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	check(t, os.CopyFS(dir, os.DirFS(w.checkout)))
	return w.sceneIn(t, dir)
}

// builtDigest is that of the image in the scene's workspace, which is whole.
func (s *scene) builtDigest() string {
	s.t.Helper()
	built, err := record.Read[record.Build](filepath.Join(s.dir, ".imagewright"), "build")
	check(s.t, err)
	digest, err := v1.NewHash(built.Image.Digest)
	check(s.t, err)
	layout, err := image.OpenLayout(filepath.Join(s.dir, ".imagewright", "image"))
	check(s.t, err)
	check(s.t, layout.Verify(s.t.Context(), digest))
	return built.Image.Digest
}

// certified is a buildkitd that wants a client's certificate, and the arguments
// that make build its client.
func certified(t *testing.T) (*buildkitd.Server, []string) {
	t.Helper()
	authority := buildkitd.NewAuthority(t)
	mine := authority.Issue(t, "client")
	server := buildkitd.Start(t, buildkitd.Options{TLS: authority.Issue(t, "server", "127.0.0.1"), Client: authority.File})
	return server, []string{"--builder-cacert=" + authority.File, "--builder-cert=" + mine.Cert, "--builder-key=" + mine.Key}
}

func TestRemoteBuilderMakesTheSame(t *testing.T) {
	w := newRemoteWorld(t)
	server, tls := certified(t)
	token := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(token, []byte("hunter2"), 0o600))
	key := sshKeyFile(t)
	for name, base := range map[string]string{
		"from a registry":      w.registry.Addr() + "/base:1",
		"from a named context": "base",
	} {
		args := []string{"--build-args=WORD=word\nBASE=" + base, "--secret-files=token=" + token, "--ssh=default=" + key}
		here, there := w.copied(t), w.copied(t)
		here.must("build", append(slices.Clone(args), "--builder=embedded")...)

		args = slices.Concat(args, tls, []string{"--builder=" + server.Addr})
		code, said := there.run("build", args...)
		if code != 0 {
			t.Fatalf("%s: exit %d:\n%s", name, code, said)
		}
		if !strings.Contains(said, "building on "+server.Addr) {
			t.Errorf("%s: the log does not say where it builds:\n%s", name, said)
		}
		if here.builtDigest() != there.builtDigest() {
			t.Errorf("%s: embedded makes %s, the remote builder %s", name, here.builtDigest(), there.builtDigest())
		}
		before := there.holdings()
		there.must("build", args...)
		if problem := changedHoldings("build", before, there.holdings()); problem != "" {
			t.Errorf("%s: a build of the same again: %s", name, problem)
		}
	}
	t.Run("not without our certificate", func(t *testing.T) {
		code, said := w.copied(t).run("build", "--builder="+server.Addr, tls[0])
		if code != 1 || !strings.Contains(said, "builder "+server.Addr+": ") || !strings.Contains(said, "builder-cert and builder-key must be") {
			t.Errorf("exit %d; want 1 and what is missing:\n%s", code, said)
		}
	})
}

// sshKeyFile is a key that a build may use, not one of this machine's.
func sshKeyFile(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	check(t, err)
	path := filepath.Join(t.TempDir(), "key")
	check(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

// The step of once.Dockerfile never does the same twice: the same digest from
// another builder shows that it had it from the cache.
func TestARemoteBuilderWritesAndReadsACacheInARegistry(t *testing.T) {
	w := newRemoteWorld(t)
	var digests []string
	for _, cache := range []string{"--cache-to=type=registry,ref=REGISTRY/cache:1,mode=max", "--cache-from=type=registry,ref=REGISTRY/cache:1"} {
		s := w.copied(t)
		s.must("build", "--file=once.Dockerfile", cache, "--builder="+buildkitd.Start(t, buildkitd.Options{}).Addr)
		digests = append(digests, s.builtDigest())
	}
	if digests[0] != digests[1] {
		t.Errorf("the cache was not used: the images are %q", digests)
	}
}

func TestInputsThatARemoteBuilderDoesNotHeedAreNamed(t *testing.T) {
	s := newRemoteWorld(t).copied(t)
	server := buildkitd.Start(t, buildkitd.Options{})
	code, said := s.run("build", "--file=once.Dockerfile", "--builder="+server.Addr, "--mirrors=docker.io=mirror.invalid", "--runtime=/nowhere", "--builder-rm",
		"--ulimit=nofile=1024:1024", "--shm-size=64m") // which it does heed
	if code != 0 || !strings.Contains(said, `inputs="mirrors, state-dir, runtime, builder-rm"`) {
		t.Errorf("exit %d; want 0 and the names of what has no effect:\n%s", code, said)
	}
}

func TestTheBuilderOfTheEnvironmentIsHonoured(t *testing.T) {
	s := newRemoteWorld(t).copied(t)
	server := buildkitd.Start(t, buildkitd.Options{Addr: "unix://" + filepath.Join(t.TempDir(), "b.sock")})
	cmd := s.command("build", "--file=once.Dockerfile")
	cmd.Env = append(cmd.Env, "BUILDKIT_HOST="+server.Addr)
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	if !strings.Contains(string(said), "building on "+server.Addr+` because="BUILDKIT_HOST says so"`) {
		t.Errorf("the log does not say so:\n%s", said)
	}
	if _, err := os.Stat(filepath.Join(s.own, "state", "lock")); err == nil {
		t.Error("an engine was started all the same")
	}
}

func TestABuilderThatDiesLeavesTheLastGoodImage(t *testing.T) {
	s := newRemoteWorld(t).copied(t)
	server := buildkitd.Start(t, buildkitd.Options{})
	s.must("build", "--file=once.Dockerfile", "--builder="+server.Addr)
	before := s.holdings()

	run := s.start("build", "--file=busy.Dockerfile", "--builder="+server.Addr)
	select {
	case <-run.stderr.has("begun\n"):
	case <-run.ended:
		t.Fatalf("it ended before it was in the middle:\n%s", run.stderr)
	case <-time.After(endTimeout):
		t.Fatalf("it never came to the middle:\n%s", run.stderr)
	}
	server.Kill(t)
	run.await(t)
	said := run.stderr.String()
	if code := run.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said, "builder "+server.Addr+": it is gone in the middle of the build") {
		t.Errorf("exit %d; want 1 and the builder's address:\n%s", code, said)
	}
	s.checkHoldings("build", before)
}

func TestSeveralBuildersMakeOneIndex(t *testing.T) {
	w := newRemoteWorld(t)
	one := w.copied(t)
	one.must("build", "--file=each.Dockerfile", "--platforms=linux/amd64,linux/arm64", "--builder=embedded")
	several := w.copied(t)
	a, b := buildkitd.Start(t, buildkitd.Options{}), buildkitd.Start(t, buildkitd.Options{})
	several.must("build", "--file=each.Dockerfile", "--platforms=linux/amd64,linux/arm64",
		"--builder=linux/amd64="+a.Addr+"\nlinux/arm64="+b.Addr)
	if one.builtDigest() != several.builtDigest() {
		t.Errorf("one builder makes %s, several make %s", one.builtDigest(), several.builtDigest())
	}

	t.Run("one cannot be reached", func(t *testing.T) {
		b.Kill(t)
		before := several.holdings()
		code, said := several.run("build", "--file=each.Dockerfile", "--platforms=linux/amd64,linux/arm64", "--no-cache",
			"--builder=linux/amd64="+a.Addr+"\nlinux/arm64="+b.Addr)
		if code != 1 || !strings.Contains(said, "builder "+b.Addr+": ") || !strings.Contains(said, "connection refused") {
			t.Errorf("exit %d; want 1 and the builder that is gone:\n%s", code, said)
		}
		several.checkHoldings("build", before)
	})
}

func TestWhereNoBuilderWorksEachIsInATable(t *testing.T) {
	s := newRemoteWorld(t).copied(t)
	cmd := s.command("build")
	cmd.Env = append(cmd.Env, "PATH="+t.TempDir(), "DOCKER_HOST=unix://"+filepath.Join(s.own, "docker.sock"))
	said, _ := cmd.CombinedOutput() // its code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit %d, want 2:\n%s", code, said)
	}
	for _, want := range []string{"no builder works here\n", "\n  embedded       ", "\n                 → install package runc", "\n  docker         ", "\n  BUILDKIT_HOST  "} {
		if !strings.Contains(string(said), want) {
			t.Errorf("%q is missing:\n%s", want, said)
		}
	}
}

func TestAnInstanceOfBuildxIsExplained(t *testing.T) {
	s := newRemoteWorld(t).copied(t)
	code, said := s.run("build", "--builder=builder-0940")
	if code != 2 || !strings.Contains(said, "docker-container://buildx_buildkit_builder-09400") {
		t.Errorf("exit %d; want 2 and what to write:\n%s", code, said)
	}
}
