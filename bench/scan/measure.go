package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/imagewright/imagewright/bench/trial"
)

// cost is what a scan took.
type cost struct {
	wall time.Duration
	peak int64 // resident memory of all its processes, bytes
}

// sampleEvery is how often memory is looked at: not so often that it takes time
// from what is measured. What is read is the peak the kernel keeps for each
// process, so that only the last moment of one is missed.
const sampleEvery = 20 * time.Millisecond

// run runs a scanner to its end and checks that it found packages.
func (s setting) run(ctx context.Context, program string, args ...string) (cost, error) {
	cmd := trial.Command(ctx, program, args...)
	cmd.Dir, cmd.Env = s.Work, trial.Environ(s.Work)
	var said bytes.Buffer
	report := filepath.Join(s.Work, "report.json")
	out, err := os.Create(report)
	if err != nil {
		return cost{}, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return cost{}, err
	}
	peak := watch(cmd)
	err = cmd.Wait()
	took := time.Since(start)
	c := cost{took, peak()}
	if err != nil {
		return c, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said.Bytes())
	}
	return c, checkReport(report)
}

// watch looks at the memory of a process and its children until it is asked for
// the sum of their peaks.
func watch(cmd *exec.Cmd) func() int64 {
	peaks := map[int]int64{}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, pid := range family(cmd.Process.Pid) {
				peaks[pid] = max(peaks[pid], peakOf(pid))
			}
			select {
			case <-done:
				return
			case <-time.After(sampleEvery):
			}
		}
	}()
	return func() int64 {
		close(done)
		<-ended
		var sum int64
		for _, p := range peaks {
			sum += p
		}
		return sum
	}
}

// family is a process and its children.
func family(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // it is gone
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// peakOf is the most memory that a process had, bytes; 0 when it is gone.
func peakOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// checkReport refuses to measure a scanner that did not look.
func checkReport(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var report struct {
		Results []struct{ Packages []struct{ Name string } }
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return err
	}
	packages := 0
	for _, r := range report.Results {
		packages += len(r.Packages)
	}
	if packages < 50 {
		return fmt.Errorf("%s lists %d packages: nothing was scanned", path, packages)
	}
	return nil
}

// markDownloaded makes a database look like one that was just fetched, so that
// neither scanner asks for another.
func markDownloaded(dir string) error {
	path := filepath.Join(dir, "metadata.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var meta map[string]any
	if err := json.Unmarshal(data, &meta); err != nil {
		return err
	}
	meta["DownloadedAt"] = time.Now().UTC()
	if data, err = json.Marshal(meta); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
