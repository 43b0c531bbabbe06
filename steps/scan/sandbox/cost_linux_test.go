package sandbox_test

import (
	"slices"
	"testing"
	"time"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
)

// maxCost is what being confined may add to a process.
const maxCost = 15 * time.Millisecond

// Starts are measured in turns, and the quickest counts: the others measure what
// else the machine had to do.
func TestConfinementIsCheap(t *testing.T) {
	const turns = 30
	var plain, confined, entering []time.Duration
	for range turns {
		for _, mode := range []sandbox.Mode{sandbox.Off, sandbox.Require} {
			o := sandbox.Options{Mode: mode, ScratchDir: scratch(t), MaxMemory: 1 << 30, MaxCPU: time.Minute, MaxFileSize: 1 << 30}
			begun := time.Now()
			r := run(t, "nothing", o)
			took := time.Since(begun)
			switch {
			case r.err != nil:
				t.Fatalf("%v: %s", r.err, r.said)
			case mode == sandbox.Off:
				plain = append(plain, took)
			default:
				confined = append(confined, took)
				entering = append(entering, r.Took)
			}
		}
	}
	cost := slices.Min(confined) - slices.Min(plain)
	t.Logf("started and ended in %v, confined in %v: %v more; Enter alone took %v", slices.Min(plain), slices.Min(confined), cost, slices.Min(entering))
	if cost > maxCost {
		t.Errorf("being confined costs %v, want at most %v", cost, maxCost)
	}
}
