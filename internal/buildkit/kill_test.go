package buildkit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/moby/buildkit/client"
)

func TestClosingKillsWhatStillRuns(t *testing.T) {
	o := options(t, t.TempDir())
	e := start(t, o)
	marker := fmt.Sprintf("imagewright-close-%d", os.Getpid())
	dir := buildContext(t, `FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo running; : `+marker+`; while true; do /busybox sleep 1; done"]
`, nil)
	status, running, built := make(chan *client.SolveStatus), make(chan bool, 1), make(chan error, 1)
	go func() {
		for s := range status {
			if len(s.Logs) > 0 && len(running) == 0 {
				running <- true
			}
		}
	}()
	l := newLayout(t)
	go func() {
		_, err := build(t.Context(), e, dir, l, nil, status)
		built <- err
	}()
	select {
	case <-running:
	case err := <-built:
		t.Fatalf("the build ended before its step ran: %v", err)
	}
	steps := noted(t, o)
	stop(t, e)
	if err := <-built; err == nil {
		t.Error("the build succeeded")
	}
	checkGone(t, steps)
	if left := processes(t, marker); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
}

func TestNothingOfABuildOutlivesAKilledProgram(t *testing.T) {
	o := options(t, t.TempDir())
	marker := fmt.Sprintf("imagewright-test-%d", os.Getpid())
	dir := buildContext(t, `FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo running; : `+marker+`; while true; do /busybox sleep 1; done"]
`, nil)
	cmd := startProgram(t, "parent", o.StateDir, dir) // says so when the RUN runs
	if len(processes(t, marker)) == 0 {
		t.Error("no process of the RUN found while it runs: the test looks for the wrong thing")
	}
	steps := noted(t, o)
	cmd.Process.Kill()
	cmd.Wait()

	// In this very moment: it starts an engine when the last one has ended, or joins
	// it where that has not yet heard that its program is gone.
	e := start(t, o)
	eventually(t, func() string {
		left := append(processes(t, marker), mountsBelow(t, o.StateDir)...)
		return strings.Join(left, "\n")
	})
	good := buildContext(t, "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"true\"]\n", nil)
	mustBuild(t, e, good, newLayout(t), "1700000000")
	checkGone(t, steps)
	stop(t, e)
}

// noted returns the name that is kept of the step that runs, and checks that
// nothing else of it is on the disk: its environment may have secrets in it.
func noted(t *testing.T, o Options) []string {
	t.Helper()
	if files, err := filepath.Glob(filepath.Join(o.StateDir, "runc-*", "executor", "*")); err != nil || len(files) > 0 {
		t.Errorf("the running step's files are on the disk: %q, %v", files, err)
	}
	found, err := filepath.Glob(filepath.Join(o.StateDir, "runc-*", "steps", "*"))
	if err != nil || len(found) != 1 {
		t.Errorf("names of running steps: %q, %v; want one", found, err)
	}
	return found
}

// checkGone checks that steps have left neither directory nor cgroup.
func checkGone(t *testing.T, steps []string) {
	t.Helper()
	for _, step := range steps {
		cgroups, err := filepath.Glob("/sys/fs/cgroup/*/buildkit/" + filepath.Base(step))
		if _, gone := os.Stat(step); err != nil || !errors.Is(gone, os.ErrNotExist) || len(cgroups) > 0 {
			t.Errorf("a step left %s (%v) and cgroups %q (%v)", step, gone, cgroups, err)
		}
	}
}

// startProgram runs this test binary as another program and waits for the first
// line of what that says. The program ends with the test.
func startProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // whose end some of them wait for
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("program %q said %q, %v; want a line", args, line, err)
	}
	return cmd
}

// buildAsParent builds dir and says when its first step writes something.
func buildAsParent(args []string) error {
	state, dir := args[0], args[1]
	binary, err := testRuntime()
	if err != nil {
		return err
	}
	e, err := Start(context.Background(), Options{StateDir: state, RuntimeBinary: binary, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	l, err := image.CreateLayout(filepath.Join(state, "image"))
	if err != nil {
		return err
	}
	status := make(chan *client.SolveStatus)
	go func() {
		for s := range status {
			for _, log := range s.Logs {
				fmt.Printf("%s\n", strings.TrimSpace(string(log.Data)))
			}
		}
	}()
	_, err = build(context.Background(), e, dir, l, nil, status)
	return errors.Join(err, e.Close())
}

// eventually waits until left returns "", and fails with what it returns then.
func eventually(t *testing.T, left func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		now := left()
		if now == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still there:\n%s", now)
		}
	}
}

// processes returns the command lines of those that hold marker, but for this.
func processes(t *testing.T, marker string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil || strings.Contains(path, strconv.Itoa(os.Getpid())) {
			continue // gone already
		}
		if text := strings.ReplaceAll(string(line), "\x00", " "); strings.Contains(text, marker) {
			found = append(found, path+": "+text)
		}
	}
	return found
}

// mountsBelow returns this machine's mounts in dir.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, dir) {
			found = append(found, line)
		}
	}
	return found
}

// Between the rename of a snapshot's directory and the record of it is a moment
// in which a killed engine leaves the one without the other.
func TestAnAbandonedSnapshotIsNotInTheWay(t *testing.T) {
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			o := options(t, t.TempDir())
			o.snapshotter = snapshotter
			abandonSnapshots(t, o)
		})
	}
}

func abandonSnapshots(t *testing.T, o Options) {
	t.Helper()
	l := newLayout(t)
	e := start(t, o)
	mustBuild(t, e, buildContext(t, "FROM scratch\nCOPY busybox /busybox\n", nil), l, "")
	stop(t, e)
	dirs, err := filepath.Glob(filepath.Join(o.StateDir, "runc-*", "snapshots", "snapshots"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the state's snapshots are in %q (%v)", dirs, err)
	}
	entries, err := os.ReadDir(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil {
			last = max(last, n)
		}
	}
	for n := range 10 { // some of these numbers are given out next
		path := filepath.Join(dirs[0], strconv.Itoa(last+1+n), "fs")
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "leftover"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e = start(t, o)
	defer stop(t, e)
	mustBuild(t, e, buildContext(t, "FROM scratch\nCOPY busybox /busybox\nCOPY more /more\nRUN [\"/busybox\", \"true\"]\n", map[string]string{"more": "x"}), l, "")
}
