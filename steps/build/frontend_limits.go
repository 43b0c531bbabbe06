package build

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/util/cpuset"

	"github.com/imagewright/imagewright/internal/fault"
)

func (h How) ulimitAttrs() (map[string]string, error) {
	var all []string
	for i, entry := range h.Ulimit {
		limit, err := units.ParseUlimit(entry)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input ulimit, entry %d: %q is not accepted: %w", i+1, entry, err), "write NAME=SOFT:HARD, such as nofile=1024:4096")
		}
		all = append(all, limit.String())
	}
	return joinedAttr("ulimit", all), nil
}

func (h How) memoryAttrs() (map[string]string, error) {
	attrs := map[string]string{}
	memory, err := bytesOf("memory", h.Memory, attrs)
	if err != nil {
		return nil, err
	}
	if _, err := bytesOf("shm-size", h.ShmSize, attrs); err != nil {
		return nil, err
	}
	switch h.MemorySwap {
	case "":
		return attrs, nil
	case "-1":
		attrs["memswap"] = "-1"
	default:
		both, err := bytesOf("memory-swap", h.MemorySwap, attrs)
		if err != nil {
			return nil, err
		}
		delete(attrs, "memory-swap")
		attrs["memswap"] = strconv.FormatInt(both, 10)
		if both < memory {
			return nil, fault.Usage(fmt.Errorf("input memory-swap: %s is less than memory, which is part of it", h.MemorySwap), "give the sum of memory and swap space, or -1")
		}
	}
	if memory == 0 {
		return nil, fault.Usage(errors.New("input memory-swap: it counts only together with memory"), "")
	}
	return attrs, nil
}

// bytesOf reads a size of memory, where k, m and g are powers of 1024 as Docker
// has them, into attrs. 0 is one that is not given.
func bytesOf(input, text string, attrs map[string]string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, fault.Usage(fmt.Errorf("input %s: %q is not accepted; want a size such as 512m or 2g", input, text), "")
	}
	attrs[input] = strconv.FormatInt(n, 10)
	return n, nil
}

func (h How) processorAttrs() (map[string]string, error) {
	attrs := map[string]string{}
	if h.CPUs != "" {
		// The kernel gives out processor time by the period, and no less than a
		// millisecond of it. https://docs.kernel.org/scheduler/sched-bwc.html
		const periodMicros, minQuotaMicros, maxCPUs = 100_000, 1_000, cpuset.MaxCPU
		n, err := strconv.ParseFloat(h.CPUs, 64)
		quota := math.Round(n * periodMicros)
		if err != nil || !(quota >= minQuotaMicros) || n > maxCPUs {
			return nil, fault.Usage(fmt.Errorf("input cpus: %q is not accepted; want a number of processors from 0.01 on, such as 1.5", h.CPUs), "")
		}
		attrs["cpuperiod"] = strconv.Itoa(periodMicros)
		attrs["cpuquota"] = strconv.FormatInt(int64(quota), 10)
	}
	switch {
	case h.CPUShares < 0 || h.CPUShares == 1: // the kernel's least is 2
		return nil, fault.Usage(fmt.Errorf("input cpu-shares: %d is not accepted; want 2 or more, where 1024 is usual", h.CPUShares), "")
	case h.CPUShares > 0:
		attrs["cpushares"] = strconv.Itoa(h.CPUShares)
	}
	if h.CPUSet != "" {
		if err := cpuset.Validate(h.CPUSet); err != nil {
			return nil, fault.Usage(fmt.Errorf("input cpuset-cpus: %q is not accepted; want numbers and ranges such as 0-2,4", h.CPUSet), "")
		}
		attrs["cpusetcpus"] = h.CPUSet
	}
	return attrs, nil
}
