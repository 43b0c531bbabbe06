package buildkit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	bolt "go.etcd.io/bbolt"
)

// engine is BuildKit's controller and what it is made of.
type engine struct {
	controller  *control.Controller
	snapshotter string
	stopping    chan struct{}
	steps       string // where a running step has its name
	containers  string // where the runtime has one for each container
}

// newEngine puts BuildKit together as its own buildkitd does for the runc
// worker, with our differ and our exporter.
//
// https://github.com/moby/buildkit/blob/v0.34.2/cmd/buildkitd/main_oci_worker.go
func newEngine(s setup) (*engine, error) {
	if err := ownNamespaces(s); err != nil {
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
		e.snapshotter = bestSnapshotter(s.Root)
	}
	root := filepath.Join(s.Root, "runc-"+e.snapshotter)
	e.steps = filepath.Join(root, stepsName)
	e.containers = runtimeDir(s.Runtime)
	if err := sweep(e.steps); err != nil {
		return nil, err
	}
	if err := mountMemory(filepath.Join(root, executorName)); err != nil {
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
	var own worker.Worker = &datedWorker{w}
	if !s.Serving {
		own = &nativeWorker{own}
	}
	if err := workers.Add(own); err != nil {
		return nil, err
	}
	o, err := controllerOptions(s, workers, opt)
	if err != nil {
		return nil, err
	}
	o.GracefulStop = e.stopping
	e.controller, err = control.NewController(o)
	return e, err
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

// controllerOptions opens the databases of the state and names what a build may
// use: Dockerfiles and frontend images, kinds of caches, entitlements.
func controllerOptions(s setup, workers *worker.Controller, opt base.WorkerOpt) (o control.Opt, err error) {
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
	cache, err := bboltcachestorage.NewStore(filepath.Join(s.Root, "cache.db"))
	if err != nil {
		return o, fmt.Errorf("open cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(s.Root, "history.db"), 0o600, &bolt.Options{
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
		ResolveCacheExporterFuncs: cacheExporters(sessions, opt.RegistryHosts),
		ResolveCacheImporterFuncs: cacheImporters(sessions, w.ContentStore(), opt.RegistryHosts),
		CacheManager: solver.NewCacheManager(context.Background(), "local", cache,
			worker.NewCacheResultStorage(workers)),
		HistoryDB:      history,
		CacheStore:     cache,
		LeaseManager:   w.LeaseManager(),
		ContentStore:   w.ContentStore(),
		GarbageCollect: w.GarbageCollect,
		Entitlements:   s.Entitlements,
	}, nil
}
