//go:build thief && linux

// Package household plants what a thief could steal or spoil, and nothing of it
// is real: credentials, a checkout, sockets of the usual services, a network
// with a metadata service, a terminal, keys, shared memory. It needs root and
// namespaces of its own (see [Namespaces]), so that even what succeeds touches
// nothing of the machine.
package household

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/imagewright/imagewright/steps/scan/sandbox/thief"
	"golang.org/x/sys/unix"
)

// Namespaces are the flags of clone with which to start the process that calls
// [Open].
const Namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// Places, all of them in file systems that Open mounts.
const (
	home      = "/home/user"
	workspace = home + "/project"
	cache     = home + "/.cache/imagewright"
	scratch   = "/tmp/imagewright-scan-1"
	neighbour = "/tmp/other-job/secret"
)

// Household is what was planted.
type Household struct {
	Scene  thief.Scene
	Canary string // the loot
	owner  int
	closed []func() error
}

// Open plants everything, as the property of user owner. The caller closes it.
// It must be called by the thread that later starts the processes that are to
// have the session's keys.
func Open(owner int) (_ *Household, err error) {
	random := make([]byte, 16)
	rand.Read(random)
	h := &Household{Canary: "canary-" + hex.EncodeToString(random), owner: owner}
	sum := sha256.Sum256([]byte(h.Canary))
	h.Scene = thief.Scene{
		Canary: hex.EncodeToString(sum[:]), Home: home, Workspace: workspace, Cache: cache, Scratch: scratch, Neighbour: neighbour,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"mount", mounts}, {"network", bringUp}, {"files", h.files}, {"file handle", h.handle}, {"network namespace", h.otherNetwork},
		{"servers", h.serve}, {"terminal", h.terminal}, {"key", h.key}, {"shared memory", h.sharedMemory}, {"message queue", h.queue},
	} {
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("plant: %s: %w", step.what, err)
		}
	}
	return h, nil
}

// Close stops the servers and frees what outlives a process.
func (h *Household) Close() error {
	var errs []error
	for _, f := range slices.Backward(h.closed) {
		errs = append(errs, f())
	}
	h.closed = nil
	return errors.Join(errs...)
}

// Environ is the environment of a job that has secrets.
func (h *Household) Environ() []string {
	return []string{
		"HOME=" + home, "PATH=" + filepath.Dir(neighbour) + ":/usr/bin:/bin", "GITHUB_WORKSPACE=" + workspace, "GITHUB_ENV=" + home + "/github_env",
		"GITHUB_TOKEN=" + h.Canary, "DOCKER_HOST=unix://" + h.Scene.Docker, "SSH_AUTH_SOCK=" + h.Scene.Agent,
	}
}

// NewScratch makes the scratch directory anew, empty.
func (h *Household) NewScratch() error {
	if err := os.RemoveAll(scratch); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(scratch, 0o700), os.Chown(scratch, h.owner, h.owner))
}

// mounts covers the places that hold secrets, so that those of this machine are
// out of reach. No mount made here is seen elsewhere.
func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, m := range []struct{ path, mode string }{
		{"/home", "755"}, {"/root", "700"}, {"/etc", "755"}, {"/run", "755"}, {"/tmp", "1777"}, {"/dev/shm", "1777"},
	} {
		if err := unix.Mount("household", m.path, "tmpfs", 0, "mode="+m.mode); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
	}
	return nil
}

// files writes every file with loot, and those that can be spoilt.
func (h *Household) files() error {
	secret := []byte("token = " + h.Canary + "\n")
	var paths []string
	for _, c := range thief.Credentials(home, workspace) {
		paths = append(paths, c.Path)
	}
	paths = append(paths, neighbour, filepath.Join(filepath.Dir(neighbour), "to-move"))
	for _, name := range thief.Harmed() {
		paths = append(paths, filepath.Join(home, name))
	}
	for _, path := range paths {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, secret, 0o600)); err != nil {
			return err
		}
	}
	for _, dir := range []string{home + "/mnt", workspace + "/.git/hooks", cache + "/db", "/etc/cron.d", "/tmp/other-job"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, path := range []string{home + "/.bashrc", home + "/github_env", filepath.Join(filepath.Dir(neighbour), "kubectl"), workspace + "/main.go", cache + "/db/trivy.db"} {
		if err := os.WriteFile(path, []byte("as it was\n"), 0o644); err != nil {
			return err
		}
	}
	for _, top := range []string{home, "/tmp/other-job"} {
		err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, h.owner, h.owner))
		})
		if err != nil {
			return err
		}
	}
	return h.NewScratch()
}

func (h *Household) handle() error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, neighbour, 0)
	if err != nil {
		return err
	}
	h.Scene.Handle = thief.Handle{Mount: "/tmp", Type: handle.Type(), Bytes: handle.Bytes()}
	return nil
}

// Publish leaves the scene for a thief in a program that is not started for it.
func (h *Household) Publish() error {
	scene, err := json.Marshal(h.Scene)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(thief.ScenePath), 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(thief.ScenePath, scene, 0o644), os.WriteFile(thief.OutcomesPath, nil, 0o600),
		os.Chown(thief.OutcomesPath, h.owner, h.owner))
}
