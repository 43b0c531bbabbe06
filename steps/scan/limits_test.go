package scan

import (
	"math"
	"runtime"
	"testing"
	"time"
)

func TestTheParserMayComputeUntilTheTimeoutOnAllProcessors(t *testing.T) {
	n := time.Duration(runtime.NumCPU())
	for _, tc := range []struct {
		name          string
		timeout, want time.Duration
	}{
		{"ten minutes", 10 * time.Minute, n * 10 * time.Minute},
		{"a timeout too short to start", time.Nanosecond, time.Minute},
		{"no timeout", 0, 0},
		{"a timeout that is as good as none", math.MaxInt64, 0},
	} {
		if got := (Limits{Timeout: tc.timeout}).maxCPU(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
