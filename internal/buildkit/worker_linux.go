package buildkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/diff/apply"
	ctdmetadata "github.com/containerd/containerd/v2/core/metadata"
	ctdsnapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/label"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// namespace is where BuildKit keeps its things in containerd's stores.
const namespace = "buildkit"

// workerOptions are those of a worker that runs steps with an OCI runtime, in
// the host's network.
//
// BuildKit's own function for this also sets an intercepting proxy up that no
// Dockerfile can ask for: it makes an RSA key at every start (30 to 100 ms), and
// removes what lies in net/proxy below the working directory.
//
// https://github.com/moby/buildkit/blob/v0.34.2/worker/runc/runc.go#L44
func workerOptions(s setup, snapshotter string) (opt base.WorkerOpt, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("set the worker up: %w", err)
		}
	}()
	root := filepath.Join(s.Root, "runc-"+snapshotter)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return opt, err
	}
	if opt.ID, err = base.ID(root); err != nil {
		return opt, err
	}
	opt.Root = root
	opt.MountPoolRoot = filepath.Join(root, "cachemounts")
	opt.Labels = map[string]string{label.Executor: "oci", label.Snapshotter: snapshotter, label.Network: "host"}
	// What the kernel can emulate is found out when somebody asks: it takes ten
	// programs to try.
	// https://github.com/moby/buildkit/blob/v0.34.2/worker/base/worker.go#L298
	opt.Platforms = []ocispecs.Platform{platforms.Normalize(platforms.DefaultSpec())}
	opt.RegistryHosts = registryHosts(s.PlainHTTP, s.Mirrors)
	opt.BuildkitVersion = client.BuildkitVersion{
		Package: version.Package, Version: version.Version, Revision: version.Revision,
	}
	opt.GCPolicy = collectPolicy(s)
	if err := addExecutor(&opt, s); err != nil {
		return opt, err
	}
	return opt, addStores(&opt, snapshotter)
}

// addStores opens what keeps layers and what is known of them.
func addStores(opt *base.WorkerOpt, snapshotter string) error {
	root := filepath.Join(opt.Root, "snapshots")
	if err := sweepSnapshots(root); err != nil {
		return err
	}
	snapshots, err := openSnapshotter(snapshotter, root)
	if err != nil {
		return err
	}
	blobs, err := local.NewStore(filepath.Join(opt.Root, "content"))
	if err != nil {
		return err
	}
	db, err := boltutil.Open(filepath.Join(opt.Root, "containerdmeta.db"), 0o644, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true,
	})
	if err != nil {
		return err
	}
	contents := ctdmetadata.NewDB(db, blobs, map[string]ctdsnapshots.Snapshotter{snapshotter: snapshots})
	if err := contents.Init(context.Background()); err != nil {
		return err
	}
	if opt.MetadataStore, err = metadata.NewStore(filepath.Join(opt.Root, "metadata_v2.db")); err != nil {
		return err
	}
	store := containerdsnapshot.NewContentStore(contents.ContentStore(), namespace)
	opt.ContentMetadata = db
	opt.ContentStore = store
	opt.Snapshotter = containerdsnapshot.NewSnapshotter(snapshotter, contents.Snapshotter(snapshotter), namespace, nil)
	opt.Applier = apply.NewFileSystemApplier(store)
	opt.Differ = &differ{store: store}
	opt.LeaseManager = leaseutil.WithNamespace(ctdmetadata.NewLeaseManager(contents), namespace)
	opt.GarbageCollect = contents.GarbageCollect
	return nil
}

// nativeWorker is a worker that does not find out what else the kernel emulates
// whenever it is asked what it is: that runs a program for each platform, and
// our own builds name theirs. A step that needs emulation gets it all the same.
//
// https://github.com/moby/buildkit/blob/v0.34.2/util/archutil/detect.go
type nativeWorker struct{ worker.Worker }

// Platforms implements worker.Worker.
func (w *nativeWorker) Platforms(bool) []ocispecs.Platform { return w.Worker.Platforms(false) }
