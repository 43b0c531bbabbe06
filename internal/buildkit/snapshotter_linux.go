package buildkit

import (
	"fmt"
	"os"
	"path/filepath"

	ctdsnapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	fuseoverlayfs "github.com/containerd/fuse-overlayfs-snapshotter/v2"
	"github.com/imagewright/imagewright/internal/buildkit/userns"
	"golang.org/x/sys/unix"
)

// bestSnapshotter returns the name of the best way to keep layers in directory
// root. It is tried, not guessed: the kernel's overlays need rights and a file
// system that fit, those of a user's program that program, /dev/fuse and mount
// helpers. Copying always works, and takes time and space for every layer.
func bestSnapshotter(root string) string {
	switch {
	case overlayutils.Supported(root) == nil && keepsOpaque(root):
		return "overlayfs"
	case fuseoverlayfs.Supported(root) == nil:
		return "fuse-overlayfs"
	}
	return "native"
}

// keepsOpaque reports whether an overlay can note in directory root that a
// directory hides those below it. Without, RUN rm -r fails with an I/O error; the
// mount does not tell. Outside of user namespaces every file system that can be
// an upper layer keeps the attribute for it.
func keepsOpaque(root string) bool {
	if !userns.Inside() {
		return true
	}
	f, err := os.CreateTemp(root, "opaque-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return unix.Fsetxattr(int(f.Fd()), "user.overlay.opaque", []byte("y"), 0) == nil
}

func openSnapshotter(name, root string) (ctdsnapshots.Snapshotter, error) {
	switch name {
	case "overlayfs":
		options := []overlay.Opt{overlay.AsynchronousRemove}
		if userns.Inside() && overlayutils.IsPathOnTmpfs(filepath.Dir(root)) {
			// containerd leaves it out on a tmpfs, where Linux has it since 6.6.
			options = append(options, overlay.WithMountOptions([]string{"userxattr"}))
		}
		return overlay.NewSnapshotter(root, options...)
	case "fuse-overlayfs":
		return fuseoverlayfs.NewSnapshotter(root)
	case "native":
		return native.NewSnapshotter(root)
	}
	return nil, fmt.Errorf("snapshotter %q is not known", name)
}
