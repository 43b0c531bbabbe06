package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"golang.org/x/sys/unix"
)

// workerName is what this test is when it runs itself again.
const workerName = "sandbox-test-worker"

// task is what a worker is told; more descriptors may come with it.
type task struct {
	Work    string
	Options sandbox.Options
}

const (
	taskFD = 3 + iota
	workFD
)

// works are what a scanner does, and what a broken or hostile one does.
func works() map[string]func(context.Context, sandbox.Options) error {
	return map[string]func(context.Context, sandbox.Options) error{
		"nothing":           func(context.Context, sandbox.Options) error { return nil },
		"read bolt":         readBolt,
		"use sqlite":        useSQLite,
		"compute":           compute,
		"map a large file":  mapLargeFile,
		"receive a file":    receiveFile,
		"half the memory":   func(_ context.Context, o sandbox.Options) error { return allocate(o.MaxMemory / 2) },
		"twice the memory":  func(_ context.Context, o sandbox.Options) error { return allocate(2 * o.MaxMemory) },
		"too large a file":  writeTooMuch,
		"wait":              func(context.Context, sandbox.Options) error { select {} },
		"leave a child":     leaveChild,
		"all the time":      func(context.Context, sandbox.Options) error { spin(); return nil },
		"panic":             func(context.Context, sandbox.Options) error { go explode(); select {} },
		"dereference a nil": func(context.Context, sandbox.Options) error { var p *task; p.Work = ""; return nil },
	}
}

func TestMain(m *testing.M) {
	if os.Args[0] != workerName {
		os.Exit(m.Run())
	}
	if err := worker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func worker() error {
	var x task
	if err := json.NewDecoder(os.NewFile(taskFD, "task")).Decode(&x); err != nil {
		return err
	}
	begun := time.Now()
	status, err := sandbox.Enter(x.Options)
	if err != nil {
		return err
	}
	entered := time.Since(begun)
	if err := json.NewEncoder(os.Stdout).Encode(entry{status, entered}); err != nil {
		return err
	}
	return works()[x.Work](context.Background(), x.Options)
}

// entry is what a worker says first.
type entry struct {
	Status sandbox.Status
	Took   time.Duration
}

// result is what became of a worker.
type result struct {
	entry
	said string // on stderr
	err  error  // of the process
}

// run runs a worker to its end.
func run(t testing.TB, work string, o sandbox.Options, files ...*os.File) result {
	t.Helper()
	told, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	if err := errors.Join(json.NewEncoder(tell).Encode(task{work, o}), tell.Close()); err != nil {
		t.Fatal(err)
	}
	cmd, err := sandbox.Command(t.Context(), sandbox.CommandOptions{Name: workerName, Files: append([]*os.File{told}, files...)})
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	r := result{err: cmd.Run(), said: said.String()}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r.entry); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "scratch-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOrdinaryWorkSurvives(t *testing.T) {
	for _, tc := range []struct {
		work string
		file func(*testing.T) *os.File
	}{
		{"read bolt", boltFile},
		{"use sqlite", nil},
		{"compute", nil},
		{"map a large file", largeFile},
		{"receive a file", socketWithFile},
		{"half the memory", nil},
	} {
		t.Run(tc.work, func(t *testing.T) {
			var files []*os.File
			if tc.file != nil {
				f := tc.file(t)
				defer f.Close()
				files = append(files, f)
			}
			o := sandbox.Options{Mode: sandbox.Require, ScratchDir: scratch(t), MaxMemory: 384 << 20, MaxCPU: time.Minute, MaxFileSize: 1 << 30}
			if r := run(t, tc.work, o, files...); r.err != nil {
				t.Errorf("%v: %s", r.err, r.said)
			}
		})
	}
}

func TestABreakingProcessSaysWhy(t *testing.T) {
	says := func(text string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, text) }
	}
	for _, tc := range []struct {
		work    string
		options sandbox.Options
		why     func(line string) bool // on stderr, or of the process
	}{
		{"panic", sandbox.Options{}, says("explode")}, // the traceback names the function
		{"dereference a nil", sandbox.Options{}, says("invalid memory address")},
		{"twice the memory", sandbox.Options{MaxMemory: 384 << 20}, sandbox.OutOfMemory},
		{"too large a file", sandbox.Options{MaxFileSize: 1 << 20}, says("file too large")},
		{"all the time", sandbox.Options{MaxCPU: time.Second}, says("signal: killed")},
	} {
		t.Run(tc.work, func(t *testing.T) {
			tc.options.Mode, tc.options.ScratchDir = sandbox.Require, scratch(t)
			r := run(t, tc.work, tc.options)
			if r.err == nil {
				t.Fatal("it ended well")
			}
			if words := append(strings.Split(r.said, "\n"), r.err.Error()); !slices.ContainsFunc(words, tc.why) {
				t.Errorf("none of its words is why: %q", words)
			}
		})
	}
}

func TestWithoutAScratchDirectoryNothingIsOpened(t *testing.T) {
	r := run(t, "too large a file", sandbox.Options{Mode: sandbox.Require, MaxFileSize: 1 << 20})
	if r.err == nil || !strings.Contains(r.said, "operation not permitted") {
		t.Errorf("%v: %s\nwant no file to be made", r.err, r.said)
	}
}

// Becoming another user makes the kernel forget that a process is to die with
// its parent.
func TestAConfinedProcessDiesWithItsParent(t *testing.T) {
	r := run(t, "leave a child", sandbox.Options{Mode: sandbox.Off, ScratchDir: scratch(t)})
	pid, err := strconv.Atoi(strings.TrimSpace(r.said))
	if err != nil {
		t.Fatalf("%v: %s", r.err, r.said)
	}
	for until := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			unix.Kill(pid, unix.SIGKILL)
			t.Fatal("it outlives its parent")
		}
	}
}

// alive reports whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return err == nil && !bytes.HasPrefix(state, []byte("Z"))
}

// leaveChild starts a worker, says which process it is, and dies.
func leaveChild(ctx context.Context, o sandbox.Options) error {
	told, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	o.Mode = sandbox.Require
	if err := errors.Join(json.NewEncoder(tell).Encode(task{"wait", o}), tell.Close()); err != nil {
		return err
	}
	cmd, err := sandbox.Command(ctx, sandbox.CommandOptions{Name: workerName, Files: []*os.File{told}})
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it is confined
		return err
	}
	fmt.Fprintln(os.Stderr, cmd.Process.Pid)
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}
