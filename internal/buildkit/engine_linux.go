package buildkit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	ctdsnapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/buildkit/cache/remotecache"
	inlinecache "github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/util/resolver"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	bolt "go.etcd.io/bbolt"
)

// engine is BuildKit's controller and what it is made of.
type engine struct {
	controller  *control.Controller
	snapshotter string
	stopping    chan struct{}
	executor    string // where a running step has a directory
	containers  string // where the runtime has one for each container
}

// newEngine puts BuildKit together as its own buildkitd does for the runc
// worker, with our differ and our exporter.
//
// https://github.com/moby/buildkit/blob/v0.34.2/cmd/buildkitd/main_oci_worker.go
func newEngine(s setup) (*engine, error) {
	if err := ownNamespaces(s.Runtime); err != nil {
		return nil, fault.Failed(err, rootHint)
	}
	e, err := assemble(s)
	if err != nil {
		return nil, fault.Failed(err, stateHint(s.Root))
	}
	return e, nil
}

func assemble(s setup) (*engine, error) {
	e := &engine{snapshotter: s.Snapshotter, stopping: make(chan struct{})}
	if e.snapshotter == "" {
		e.snapshotter = "native"
		if overlayutils.Supported(s.Root) == nil {
			e.snapshotter = "overlayfs"
		}
	}
	e.executor = filepath.Join(s.Root, "runc-"+e.snapshotter, "executor")
	e.containers = runtimeDir(s.Runtime)
	if err := sweep(e.executor); err != nil {
		return nil, err
	}
	opt, err := workerOptions(s, e.snapshotter)
	if err != nil {
		return nil, err
	}
	w, err := base.NewWorker(context.Background(), opt)
	if err != nil {
		return nil, fmt.Errorf("make the worker: %w", err)
	}
	workers := &worker.Controller{}
	if err := workers.Add(&datedWorker{w}); err != nil {
		return nil, err
	}
	o, err := controllerOptions(s.Root, workers, opt)
	if err != nil {
		return nil, err
	}
	o.GracefulStop = e.stopping
	e.controller, err = control.NewController(o)
	return e, err
}

// workerOptions are those of a worker that runs steps with an OCI runtime, in
// the host's network.
func workerOptions(s setup, snapshotter string) (base.WorkerOpt, error) {
	factory := runc.SnapshotterFactory{Name: snapshotter, New: native.NewSnapshotter}
	if snapshotter == "overlayfs" {
		factory.New = func(root string) (ctdsnapshots.Snapshotter, error) {
			return overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
		}
	}
	opt, err := runc.NewWorkerOpt(s.Root, factory, false, oci.ProcessSandbox, nil, nil,
		netproviders.Opt{Mode: "host"}, nil, s.Runtime, "", false, nil, "", "", nil)
	if err != nil {
		return opt, fmt.Errorf("set the worker up: %w", err)
	}
	opt.Differ = &differ{store: opt.ContentStore}
	opt.RegistryHosts = resolver.NewRegistryConfig(registries(s.PlainHTTP))
	opt.BuildkitVersion = client.BuildkitVersion{
		Package: version.Package, Version: version.Version, Revision: version.Revision,
	}
	opt.GCPolicy = collectPolicy(s)
	return opt, nil
}

// registries are those that are not spoken to over TLS. BuildKit itself does so
// for loopback.
func registries(plain []string) map[string]resolverconfig.RegistryConfig {
	m := make(map[string]resolverconfig.RegistryConfig, len(plain))
	yes := true
	for _, host := range plain {
		m[host] = resolverconfig.RegistryConfig{PlainHTTP: &yes}
	}
	return m
}

// collectPolicy is buildkitd's, with the size that was asked for. BuildKit
// follows it a second after a start and then once a minute.
func collectPolicy(s setup) []client.PruneInfo {
	stat, err := disk.GetDiskStat(s.Root)
	if err != nil {
		stat = disk.DiskStat{} // BuildKit then takes fixed sizes
	}
	limits := config.GCConfig{GCMaxUsedSpace: config.DiskSpace{Bytes: s.MaxSize}}
	var policy []client.PruneInfo
	for _, rule := range config.DefaultGCPolicy(limits, stat) {
		policy = append(policy, client.PruneInfo{
			Filter:        rule.Filters,
			All:           rule.All,
			KeepDuration:  rule.KeepDuration.Duration,
			ReservedSpace: rule.ReservedSpace.AsBytes(stat),
			MaxUsedSpace:  rule.MaxUsedSpace.AsBytes(stat),
			MinFreeSpace:  rule.MinFreeSpace.AsBytes(stat),
		})
	}
	return policy
}

// controllerOptions opens the databases in root and names what a build may use:
// Dockerfiles and frontend images, caches in registries, directories and the
// image itself. No entitlement can be asked for.
func controllerOptions(root string, workers *worker.Controller, opt base.WorkerOpt) (o control.Opt, err error) {
	sessions, err := session.NewManager()
	if err != nil {
		return o, err
	}
	w, err := workers.GetDefault()
	if err != nil {
		return o, err
	}
	images, err := gateway.NewGatewayFrontend(workers.Infos(), nil)
	if err != nil {
		return o, err
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(root, "cache.db"))
	if err != nil {
		return o, fmt.Errorf("open cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(root, "history.db"), 0o600, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true,
	})
	if err != nil {
		return o, errors.Join(fmt.Errorf("open history: %w", err), cache.Close())
	}
	return control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build),
			"gateway.v0":    images,
		},
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"registry": registrycache.ResolveCacheExporterFunc(sessions, opt.RegistryHosts),
			"local":    localcache.ResolveCacheExporterFunc(sessions),
			"inline":   inlinecache.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"registry": registrycache.ResolveCacheImporterFunc(sessions, w.ContentStore(), opt.RegistryHosts),
			"local":    localcache.ResolveCacheImporterFunc(sessions),
		},
		CacheManager: solver.NewCacheManager(context.Background(), "local", cache,
			worker.NewCacheResultStorage(workers)),
		HistoryDB:      history,
		CacheStore:     cache,
		LeaseManager:   w.LeaseManager(),
		ContentStore:   w.ContentStore(),
		GarbageCollect: w.GarbageCollect,
	}, nil
}
