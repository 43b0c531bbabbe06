package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// suite is the Debian release of every base made here.
const suite = "bookworm"

// Maker makes the images that take long, and keeps their layers.
type Maker struct {
	Cache string    // a folder; made if need be
	Log   io.Writer // is told of what takes long
}

// Debian is Debian 12 as debootstrap makes it, without the package lists and
// caches that published images leave out too. It needs root, and about a minute
// the first time.
func (m *Maker) Debian(ctx context.Context) (v1.Image, error) {
	layer, err := m.debianLayer(ctx)
	if err != nil {
		return nil, err
	}
	return Compose(nil, []Step{{CreatedBy: "debootstrap --variant=minbase " + suite, Layer: layer}}, func(c *v1.Config) {
		c.Env = []string{searchPath}
		c.Cmd = []string{"bash"}
	})
}

// DebianWithLists is Debian as debootstrap leaves it, with apt's lists of all
// packages: a text of 50 MB.
func (m *Maker) DebianWithLists(ctx context.Context) (v1.Image, error) {
	layer, err := m.debootstrapped(ctx, "debian-lists", func(name string) bool {
		return leftOver(name) && !strings.HasPrefix(name, "var/lib/apt/lists/")
	})
	if err != nil {
		return nil, err
	}
	return Compose(nil, []Step{{CreatedBy: "debootstrap --variant=minbase " + suite, Layer: layer}}, nil)
}

func (m *Maker) debianLayer(ctx context.Context) (v1.Layer, error) {
	return m.debootstrapped(ctx, "debian", leftOver)
}

// debootstrapped makes a Debian without what skip tells, by slash path.
func (m *Maker) debootstrapped(ctx context.Context, kind string, skip func(name string) bool) (v1.Layer, error) {
	return m.layer(fmt.Sprintf("%s-%s-%s", kind, suite, runtime.GOARCH), func(archive *tar.Writer) error {
		fmt.Fprintf(m.Log, "making a Debian 12 with debootstrap, about a minute; it is kept in %s\n", m.Cache)
		dir, err := os.MkdirTemp(m.Cache, ".debootstrap-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		// The folder is the image's root directory.
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
		if err := debootstrap(ctx, dir); err != nil {
			return err
		}
		return tree{root: dir, skip: skip}.write(archive)
	})
}

// leftOver tells what an image does not need of a debootstrap.
func leftOver(name string) bool {
	for _, dir := range []string{"var/lib/apt/lists/", "var/cache/apt/", "var/log/", "dev/", "debootstrap", "etc/machine-id", "etc/resolv.conf", "etc/hostname"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// debootstrap runs in a mount and a process namespace of its own: what it
// mounts and starts ends with it, however it ends.
func debootstrap(ctx context.Context, dir string) error {
	mirror := mirror(ctx)
	cmd := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", suite, dir, mirror)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		text := said.Bytes()
		return fmt.Errorf("debootstrap %s from %s: %w (DEBIAN_MIRROR names another mirror); it said:\n%s",
			suite, mirror, err, text[max(0, len(text)-2000):])
	}
	return nil
}

// mirror is where this machine gets its packages from, if that is Debian.
func mirror(ctx context.Context) string {
	if given := os.Getenv("DEBIAN_MIRROR"); given != "" {
		return given
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Codename: "+suite, "Component: main").Output()
	if err != nil {
		out = nil // not a Debian, or no lists yet: the default mirror then
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return cmp.Or(first, "http://deb.debian.org/debian")
}
