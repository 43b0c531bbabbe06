package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/internal/image"
	"golang.org/x/sys/unix"
)

// A world is a machine with a user of the test's: the files of /etc that say so
// are others in a mount namespace of its own, and the real ones stay as they are.
const (
	worldUser = "imagewright-test"
	worldID   = 51234

	masked = "masked" // rootless, in a container that hides parts of /proc
)

var worlds = map[string]map[string]string{
	Sudo: {"/etc/sudoers": "Defaults use_pty\n" + worldUser + " ALL=(ALL) NOPASSWD: ALL\n"},
	Rootless: {
		"/etc/sudoers": "\n",
		"/etc/subuid":  worldUser + ":200000:65536\n",
		"/etc/subgid":  worldUser + ":200000:65536\n",
	},
}

// enterWorld runs in a mount namespace of its own: it changes /etc there as
// the world of that name has it, and goes on as its user.
func enterWorld(args []string) error {
	world, dir := args[0], args[1]
	if world == masked {
		if err := unix.Mount("/dev/null", "/proc/interrupts", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mask /proc/interrupts: %w", err)
		}
		world = Rootless
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	files := map[string]string{
		"/etc/passwd": string(passwd) + fmt.Sprintf("%s:*:%d:%d::%s:/bin/sh\n", worldUser, worldID, worldID, dir),
	}
	for path, text := range worlds[world] {
		files[path] = text
	}
	for path, text := range files {
		mode := os.FileMode(0o644)
		if path == "/etc/sudoers" {
			mode = 0o440
		}
		copied := filepath.Join(dir, "etc-"+filepath.Base(path))
		if err := os.WriteFile(copied, []byte(text), mode); err != nil {
			return err
		}
		if err := unix.Mount(copied, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	user := exec.Command(executable, append([]string{"user", world}, args[1:]...)...)
	user.Env = append(os.Environ(), "HOME="+filepath.Join(dir, "home"), "XDG_DATA_HOME=", "USER="+worldUser)
	user.Dir = filepath.Join(dir, "home")
	user.Stdout, user.Stderr = os.Stdout, os.Stderr
	user.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: worldID, Gid: worldID}}
	return user.Run()
}

// buildAsUser starts an engine, twice at once, and builds with both.
func buildAsUser(args []string) error {
	world, dir, contextDir, state := args[0], args[1], args[2], args[3]
	o := Options{StateDir: state, Stderr: os.Stderr, CABundle: os.Getenv("TEST_CA"), PlainLayers: filepath.Join(dir, "home", "layers")}
	first, err := Start(context.Background(), o)
	if err != nil {
		return err
	}
	second, err := Start(context.Background(), o)
	if err != nil {
		return errors.Join(err, first.Close())
	}
	if world == Sudo {
		out, sudoErr := exec.Command("sudo", "-n", "cat", fmt.Sprintf("/proc/%d/environ", first.process.Pid)).CombinedOutput()
		fmt.Printf("environ %q %v\n", out, sudoErr)
	}
	status, statusErr := os.ReadFile(fmt.Sprintf("/proc/%d/status", first.process.Pid))
	fmt.Printf("process 1 of its namespace: %v %v\n", regexp.MustCompile(`NSpid:.*\t1\n`).Match(status), statusErr)
	if first.Mode() != world || !second.Joined() {
		err = fmt.Errorf("mode %s, joined: %v; want %s and true", first.Mode(), second.Joined(), world)
	}
	for i, e := range []*Engine{first, second} {
		l, layoutErr := image.CreateLayout(filepath.Join(dir, "home", fmt.Sprintf("image%d", i)))
		if layoutErr != nil {
			err = errors.Join(err, layoutErr)
			continue
		}
		root, buildErr := build(context.Background(), e, contextDir, l, map[string]string{"source-date-epoch": "1700000000"}, nil)
		fmt.Printf("built %s\n", root.Digest)
		err = errors.Join(err, buildErr, e.Close())
	}
	plain, globErr := filepath.Glob(filepath.Join(o.PlainLayers, "sha256", "*"))
	fmt.Printf("uncompressed: %d layers\n", len(plain))
	err = errors.Join(err, globErr)
	fmt.Printf("state %s\nsnapshotter %s\n", first.StateDir(), first.Snapshotter())
	return err
}

// inWorld builds contextDir as the user of a world and returns what that says.
// dir is the user's.
func inWorld(t *testing.T, world, dir, contextDir, state string, environ ...string) string {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(dir, "home")
	if err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, worldID, worldID)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program") // go test's own directory is nobody else's to enter
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v, %s", err, out)
	}
	cmd := exec.Command(program, "world", world, dir, contextDir, state)
	cmd.Env = append(os.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("build as a user in the world of %s: %v\n%s", world, err, out)
	}
	return string(out)
}

// owned is a Dockerfile whose files have several owners.
const owned = `FROM scratch
COPY busybox /busybox
COPY --chown=5:6 one.txt /one.txt
RUN ["/busybox", "sh", "-c", "echo two >/two.txt && /busybox chown 7:8 /two.txt && /busybox id -u >/who"]
USER 9:10
RUN ["/busybox", "sh", "-c", "test \"$(/busybox id -u)\" = 9 && test -r /proc/self/status && : >/dev/null"]
`

// plainOfOwned is said when every layer that owned makes, with an ADD and a RUN
// that changes nothing, is also there uncompressed.
const plainOfOwned = "uncompressed: 5 layers\n"

// worldContext is a context that everybody may read and that needs the
// certificates in ca, and the digest that root builds of it.
func worldContext(t *testing.T) (dir, ca, digest string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello")
	}))
	t.Cleanup(server.Close)
	ca = writeCertificate(t, server.Certificate())
	dir = buildContext(t, owned+"ADD --chmod=644 "+server.URL+"/hello /hello\n", map[string]string{"one.txt": "one\n"})
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(filepath.Dir(ca), 0o755),
		os.Chmod(filepath.Dir(filepath.Dir(ca)), 0o755), os.Chown(ca, worldID, worldID)); err != nil {
		t.Fatal(err)
	}
	o := options(t, t.TempDir())
	o.CABundle = ca
	e := start(t, o)
	defer stop(t, e)
	digest, _ = mustBuild(t, e, dir, newLayout(t), "1700000000")
	return dir, ca, digest
}

func TestUnderSudoTheEngineAloneIsRoot(t *testing.T) {
	if _, err := exec.LookPath("sudo"); err != nil {
		t.Fatal("no sudo on PATH; `make packages-test` installs it")
	}
	contextDir, ca, want := worldContext(t)
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	const canary = "canary-77f0"
	out := inWorld(t, Sudo, dir, contextDir, state, "TEST_CA="+ca, "GITHUB_TOKEN="+canary)
	if strings.Count(out, "built "+want) != 2 {
		t.Errorf("it says %q; want digest %s, as root builds it, twice", out, want)
	}
	if strings.Contains(out, canary) || !strings.Contains(out, "TMPDIR="+state) || strings.Contains(out, "SUDO_USER") {
		t.Errorf("it says %q; want the engine's environment, with no secret and nothing of sudo's", out)
	}
	if !strings.Contains(out, plainOfOwned) {
		t.Errorf("it says %q; want %q", out, plainOfOwned)
	}
	checkOwner(t, filepath.Join(dir, "home"), worldID)
	checkOwner(t, filepath.Join(state, "cache.db"), 0)
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "imagewright-*", brokerSocket)); err != nil || len(left) > 0 {
		t.Errorf("left of the broker: %q, %v", left, err)
	}
}

func TestARootlessEngineBuildsTheSameImage(t *testing.T) {
	if _, err := exec.LookPath("newuidmap"); err != nil {
		t.Fatal("no newuidmap on PATH; `make packages-test` installs it (apt: uidmap)")
	}
	contextDir, ca, want := worldContext(t)
	for _, world := range []string{Rootless, masked} {
		t.Run(world, func(t *testing.T) {
			dir := t.TempDir()
			out := inWorld(t, world, dir, contextDir, "", "TEST_CA="+ca)
			if strings.Count(out, "built "+want) != 2 {
				t.Errorf("it says %q; want digest %s, as root builds it, twice", out, want)
			}
			if !strings.Contains(out, plainOfOwned) {
				t.Errorf("it says %q; want %q", out, plainOfOwned)
			}
			checkOwner(t, filepath.Join(dir, "home", "layers"), worldID)
			if own := fmt.Sprintf("process 1 of its namespace: %v", world != masked); !strings.Contains(out, own) {
				t.Errorf("it says %q; want %q", out, own)
			}
			if state := filepath.Join(dir, "home", ".local", "share", "imagewright"); !strings.Contains(out, "state "+state+"\n") {
				t.Errorf("it says %q; want the state in %s", out, state)
			}
		})
	}
}

// checkOwner checks that everything below path is of user id.
func checkOwner(t *testing.T, path string, id uint32) {
	t.Helper()
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil && fi.Sys().(*syscall.Stat_t).Uid != id {
			t.Errorf("%s belongs to user %d; want %d", path, fi.Sys().(*syscall.Stat_t).Uid, id)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
