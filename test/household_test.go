package test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/images"
)

// The ids of the ordinary user that these tests make, and of the ranges that
// belong to it.
const (
	aliceID    = 43210
	aliceRange = 700000
	rangeSize  = 65536
)

// household is a machine with the ordinary user alice. Its files of users are
// put over the real ones in mount namespaces that end with what runs in them.
type household struct {
	dir     string
	program string
	base    string // a layout
}

func newHousehold(t *testing.T) *household {
	t.Helper()
	h := &household{dir: t.TempDir()}
	check(t, os.Chmod(filepath.Dir(h.dir), 0o755)) // for alice to get in
	h.program = filepath.Join(h.dir, "imagewright-build")
	text, err := os.ReadFile(filepath.Join(bin(), "imagewright-build"))
	check(t, err)
	check(t, os.WriteFile(h.program, text, 0o755))
	h.base = filepath.Join(h.dir, "base")
	check(t, images.WriteLayout(h.base, oddBase(t)))
	check(t, exec.Command("chmod", "-R", "a+rX", h.base).Run())
	owned := fmt.Sprintf("bob:100000:65536\nalice:%d:%d\n", aliceRange, rangeSize)
	h.write(t, "etc/passwd", fmt.Sprintf("root:x:0:0::/root:/bin/sh\nalice:x:%d:%d::/:/bin/sh\n", aliceID, aliceID))
	h.write(t, "etc/group", fmt.Sprintf("root:x:0:\nalice:x:%d:\n", aliceID))
	h.write(t, "etc/subuid", owned)
	h.write(t, "etc/subgid", owned)
	return h
}

func (h *household) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(h.dir, name)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

// oddBase is busybox with a file that has a capability, one of another owner,
// and a directory that hides the one below it.
func oddBase(t *testing.T) v1.Image {
	t.Helper()
	busybox, err := images.Busybox()
	check(t, err)
	// cap_net_bind_service=ep, as capabilities(7) and linux/capability.h have it.
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	lower := layerOf(t,
		&tar.Header{Name: "capable", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capability}},
		&tar.Header{Name: "nobodys", Mode: 0o6755, Uid: 65534, Gid: 65533},
		&tar.Header{Name: "opaque/", Mode: 0o755, Typeflag: tar.TypeDir},
		&tar.Header{Name: "opaque/hidden", Mode: 0o644},
		&tar.Header{Name: "device", Mode: 0o666, Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
	)
	upper := layerOf(t,
		&tar.Header{Name: "opaque/", Mode: 0o700, Typeflag: tar.TypeDir},
		&tar.Header{Name: "opaque/.wh..wh..opq", Mode: 0o644},
		&tar.Header{Name: ".wh.nobodys", Mode: 0o644},
	)
	base, err := images.Compose(busybox, []images.Step{{CreatedBy: "odd files", Layer: lower}, {CreatedBy: "whiteouts", Layer: upper}}, nil)
	check(t, err)
	return base
}

func layerOf(t *testing.T, entries ...*tar.Header) v1.Layer {
	t.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, entry := range entries {
		entry.ModTime, entry.Format = commitDate(), tar.FormatPAX
		check(t, w.WriteHeader(entry))
	}
	check(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })
	check(t, err)
	return layer
}

// builder is somebody who builds, and the place where.
type builder struct {
	name    string
	rights  string // arguments of setpriv
	arrange string // what root does before, in the mount namespace
	within  string // a command that runs it
	owner   int
}

// asAlice are the rights of the ordinary user.
func asAlice() string { return fmt.Sprintf("--reuid=%d --regid=%d --clear-groups", aliceID, aliceID) }

// command is a build of dockerfile by b, with a checkout and a state of its own,
// in $HOME.
func (h *household) command(t *testing.T, b builder, dockerfile string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	home, err := os.MkdirTemp(h.dir, "home-")
	check(t, err)
	dir = filepath.Join(home, "checkout")
	place, err := filepath.Rel(h.dir, dir)
	check(t, err)
	h.write(t, filepath.Join(place, "Dockerfile"), dockerfile)
	h.write(t, filepath.Join(place, "text"), "text\n")
	_, err = checkout.Commit(dir, checkout.Options{When: commitDate()})
	check(t, err)
	check(t, os.Mkdir(filepath.Join(home, "state"), 0o700))
	check(t, filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, b.owner, b.owner)
	}))
	script := `for file in passwd group subuid subgid; do mount --bind "$0/$file" "/etc/$file"; done
` + b.arrange + `
exec setpriv ` + b.rights + ` -- ` + b.within + ` "$@"`
	cmd = exec.Command("unshare", "--mount", "--propagation=private", "sh", "-ec", script, filepath.Join(h.dir, "etc"), h.program)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"IMAGEWRIGHT_BUILD_PROGRESS=plain",
		"IMAGEWRIGHT_BUILD_STATE_DIR=" + filepath.Join(home, "state"),
		"IMAGEWRIGHT_BUILD_BUILD_CONTEXTS=base=oci-layout://" + h.base,
		"IMAGEWRIGHT_BUILD_SECRETS=token=hush",
	}
	return cmd, dir
}

// checkNothingLeft waits until no process and no mount of the household is left.
func (h *household) checkNothingLeft(t *testing.T) {
	t.Helper()
	deadline := time.After(endTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := h.left()
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("left behind: %q", left)
			return
		}
	}
}

// left are the processes that belong to alice or her ranges or name the
// household's directory, and the mounts below that.
func (h *household) left() (found []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/status") // only a bad pattern is an error
	for _, path := range paths {
		status, _ := os.ReadFile(path) // an error: it is gone
		arguments, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if isAlices(string(status)) || bytes.Contains(arguments, []byte(h.dir)) {
			found = append(found, path+" "+string(arguments))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, h.dir) {
			found = append(found, line)
		}
	}
	return found
}

// isAlices reads the owner out of a process's status.
func isAlices(status string) bool {
	_, line, _ := strings.Cut(status, "\nUid:\t")
	real, _, _ := strings.Cut(line, "\t")
	id, err := strconv.Atoi(real)
	return err == nil && (id == aliceID || id >= aliceRange && id < aliceRange+rangeSize)
}
