package buildkit

import (
	"context"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/identity"
)

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
