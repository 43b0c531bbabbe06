package sandbox

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxDescriptors is far above what the layers of an image need at once.
	maxDescriptors = 1024
	// maxThreads is one for each read that waits, and those that compute.
	maxThreads = 2048
)

// bound is a resource limit.
type bound struct {
	what     string
	resource int
	value    uint64
}

// limit sets resource limits, and with them a soft limit of memory, from which
// on Go collects garbage rather than grow.
func limit(o Options) error {
	bounds := []bound{
		{"core dumps", unix.RLIMIT_CORE, 0}, // they would hold what was read
		{"locked memory", unix.RLIMIT_MEMLOCK, 0},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0},
		{"open files", unix.RLIMIT_NOFILE, maxDescriptors},
	}
	if o.MaxMemory > 0 {
		// Not RLIMIT_AS: Go reserves far more addresses than it ever uses, and a
		// mapped database has its own. RLIMIT_DATA counts memory of our own that can
		// be written (Linux 4.7 and newer), which is what Go's heap is.
		bounds = append(bounds, bound{"memory", unix.RLIMIT_DATA, uint64(o.MaxMemory)})
		debug.SetMemoryLimit(o.MaxMemory / 4 * 3)
	}
	if o.MaxFileSize > 0 {
		bounds = append(bounds, bound{"file size", unix.RLIMIT_FSIZE, uint64(o.MaxFileSize)})
	}
	if o.MaxCPU > 0 {
		seconds := (o.MaxCPU + time.Second - 1) / time.Second // 0 would be at once
		bounds = append(bounds, bound{"processor time", unix.RLIMIT_CPU, uint64(seconds)})
	}
	var errs []error
	for _, b := range bounds {
		errs = append(errs, b.set())
	}
	return errors.Join(errs...)
}

// set sets b for good, unless a lower one holds already.
func (b bound) set() error {
	var now unix.Rlimit
	if err := unix.Getrlimit(b.resource, &now); err != nil {
		return fmt.Errorf("%s: %w", b.what, err)
	}
	value := min(b.value, now.Max)
	if err := unix.Setrlimit(b.resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("%s: %w", b.what, err)
	}
	return nil
}
