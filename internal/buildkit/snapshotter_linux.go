package buildkit

import (
	"fmt"

	ctdsnapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	fuseoverlayfs "github.com/containerd/fuse-overlayfs-snapshotter/v2"
)

// bestSnapshotter returns the name of the best way to keep layers in directory
// root. It is tried, not guessed: the kernel's overlays need rights and a file
// system that fit, those of a user's program that program, /dev/fuse and mount
// helpers. Copying always works, and takes time and space for every layer.
func bestSnapshotter(root string) string {
	switch {
	case overlayutils.Supported(root) == nil:
		return "overlayfs"
	case fuseoverlayfs.Supported(root) == nil:
		return "fuse-overlayfs"
	}
	return "native"
}

func openSnapshotter(name, root string) (ctdsnapshots.Snapshotter, error) {
	switch name {
	case "overlayfs":
		return overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
	case "fuse-overlayfs":
		return fuseoverlayfs.NewSnapshotter(root)
	case "native":
		return native.NewSnapshotter(root)
	}
	return nil, fmt.Errorf("snapshotter %q is not known", name)
}
