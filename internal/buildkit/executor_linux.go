package buildkit

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/executor/resources"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/executor/runcexecutor"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/llbsolver/cdidevices"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/appdefaults"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/worker/base"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// addExecutor adds what runs steps.
func addExecutor(opt *base.WorkerOpt, s setup) (err error) {
	opt.NetworkProviders = map[pb.NetMode]network.Provider{
		pb.NetMode_UNSET: network.NewHostProvider(),
		pb.NetMode_HOST:  network.NewHostProvider(),
		pb.NetMode_NONE:  network.NewNoneProvider(),
	}
	if opt.ResourceMonitor, err = resources.NewMonitor(); err != nil {
		return err
	}
	if slices.Contains(s.Entitlements, "device") {
		if opt.CDIManager, err = devices(); err != nil {
			return err
		}
	}
	processes := oci.ProcessSandbox
	if s.HostPIDs {
		processes = oci.NoProcessSandbox
	}
	steps, err := runcexecutor.New(runcexecutor.Opt{
		Root:              filepath.Join(opt.Root, executorName),
		CommandCandidates: []string{s.Runtime},
		ProcessMode:       processes,
		Rootless:          s.Rootless, // the runtime is asked for no control groups, and limits do nothing
		ResourceMonitor:   opt.ResourceMonitor,
		CDIManager:        opt.CDIManager,
	}, opt.NetworkProviders)
	if err != nil {
		return err
	}
	if s.StepCABundle != "" {
		company, err := readBundle(s.StepCABundle)
		if err != nil {
			return err
		}
		steps = &trustingExecutor{steps, company, systemBundle()}
	}
	opt.Executor = &notedExecutor{steps, filepath.Join(opt.Root, stepsName)}
	return nil
}

// devices knows this machine's devices that have a CDI specification, which is
// what RUN --device names.
func devices() (*cdidevices.Manager, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(appdefaults.CDISpecDirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, err
	}
	return cdidevices.NewManager(cache, nil), nil
}

// notedExecutor has an empty directory for each step that runs, named as its
// cgroup is. What the runtime itself knows of a step, the values of secrets in
// its environment included, is in memory alone and gone with the engine; from
// these names the next one knows what to tidy up.
type notedExecutor struct {
	executor.Executor
	dir string
}

// Run implements executor.Executor.
func (e *notedExecutor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	if id == "" {
		id = identity.NewID()
	}
	note := filepath.Join(e.dir, id)
	if err := os.Mkdir(note, 0o700); err != nil {
		return nil, err
	}
	defer os.Remove(note)
	return e.Executor.Run(ctx, id, root, mounts, process, started)
}
