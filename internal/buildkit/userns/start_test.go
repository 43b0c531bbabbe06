package userns

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// facts are what a started process finds.
type facts struct {
	UID, GID, PID        int
	Effective, Ambient   string // capabilities
	UIDMap, GIDMap       string
	Args, Env            []string
	Inherited            string   // what descriptor 3 says
	Sockets              []string // open: the stage's should not be
	Processes            int      // in its /proc
	Chown, Mount, Device string
}

// startReport starts this program as "report", with args, and relays it.
func startReport(args []string) error {
	ctx, stop := deadline()
	defer stop()
	runtime.LockOSThread()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	fmt.Fprint(write, "hello")
	write.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{"report"}, args...), Env: []string{"KEY=value"}, Dir: "/",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles:  []*os.File{read},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Setsid: true, Pdeathsig: unix.SIGKILL},
	}
	if err := Start(ctx, cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// report prints its facts; then, when it has an argument, it waits.
func report() error {
	status := ownStatus()
	f := facts{
		UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(),
		Effective: status["CapEff"], Ambient: status["CapAmb"],
		UIDMap: readFields("/proc/self/uid_map"), GIDMap: readFields("/proc/self/gid_map"),
		Args: os.Args, Env: os.Environ(),
	}
	inherited, err := io.ReadAll(os.NewFile(3, "inherited"))
	if err != nil {
		return err
	}
	f.Inherited = string(inherited)
	for fd := 4; fd < 64; fd++ {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && strings.HasPrefix(name, "socket:") {
			f.Sockets = append(f.Sockets, name)
		}
	}
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	f.Processes = len(names)
	f.Mount = problem(unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""))
	if err := os.WriteFile("/mnt/file", nil, 0o600); err != nil {
		return err
	}
	f.Chown = problem(os.Chown("/mnt/file", 65534, 1000))
	f.Device = problem(unix.Mknod("/mnt/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil || len(os.Args) == 1 {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func problem(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func readFields(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func TestAnOrdinaryUserIsRootThere(t *testing.T) {
	before := readFields("/proc/self/mountinfo")
	var got facts
	output(t, alice().command(t, "start"), &got)
	all, err := everyCapability()
	if err != nil {
		t.Fatal(err)
	}
	want := facts{
		PID:       1,
		Effective: fmt.Sprintf("%016x", uint64(1)<<len(all)-1), Ambient: strings.Repeat("0", 16),
		UIDMap: "0 4321 1 1 200000 65536", GIDMap: "0 4321 1 1 300000 65536",
		Args: []string{"report"}, Env: []string{"KEY=value"}, Inherited: "hello",
		Processes: 1,
		Device:    "operation not permitted", // as in every user namespace
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the started process finds (-want +got):\n%s", diff)
	}
	if after := readFields("/proc/self/mountinfo"); after != before {
		t.Errorf("mounts outside changed from\n%s\nto\n%s", before, after)
	}
}

func TestEveryRangeOfTheUserIsMapped(t *testing.T) {
	p := alice()
	p.Files["/etc/subuid"] = "alice:200000:1000\nbob:500000:9\n4321:400000:65536\nalice:200500:1000\nalice:4000:1000\nalice:0:5\nalice:9:-5\n"
	var got facts
	output(t, p.command(t, "start"), &got)
	if want := "0 4321 1 1 200000 1000 1001 400000 65536"; got.UIDMap != want {
		t.Errorf("uid_map is %q, want %q", got.UIDMap, want)
	}
}

// As in a container that is not privileged, where nothing else forbids it.
func TestARootThatMayNotMountKeepsItsIDs(t *testing.T) {
	p := place{Less: []uintptr{unix.CAP_SYS_ADMIN}, Path: os.Getenv("PATH")}
	var got facts
	output(t, p.command(t, "start"), &got)
	if want := "0 0 1 1 1 4294967294"; got.UIDMap != want || got.GIDMap != want {
		t.Errorf("uid_map is %q, gid_map %q, want %q", got.UIDMap, got.GIDMap, want)
	}
	if got.Mount != "" || got.Chown != "" {
		t.Errorf("mount: %q, chown: %q", got.Mount, got.Chown)
	}
}

func TestTheStartedProcessDiesWithItsStarter(t *testing.T) {
	cmd := alice().command(t, "start", "wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("no report: %v", err)
	}
	started := children(t, cmd.Process.Pid)
	if len(started) != 1 {
		t.Fatalf("the starter has children %v, want one", started)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	gone(t, started[0])
}

func TestStartGivesUpOnAHangingTool(t *testing.T) {
	p := alice()
	p.Path = openDir(t)
	sleeper := filepath.Join(p.Path, "newuidmap")
	if err := os.WriteFile(sleeper, []byte("#!/bin/sh\nexec /bin/sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var got impatience
	output(t, p.command(t, "hurry"), &got)
	if want := "newuidmap: context deadline exceeded"; got.Error != want {
		t.Errorf("error %q, want %q", got.Error, want)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	if got.Children != "" {
		t.Errorf("left processes %s behind", got.Children)
	}
}

// impatience is what is left of a start that had a second.
type impatience struct{ Error, Children string }

func printHurry() error {
	runtime.LockOSThread()
	ctx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	err := check(ctx)
	return json.NewEncoder(os.Stdout).Encode(impatience{problem(err), readFields("/proc/thread-self/children")})
}

func TestEnterIsNotStartedByHand(t *testing.T) {
	for _, argument := range []string{"", "x", "-1", "0", "3", "99"} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Args = []string{stageName, argument, "report"}
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), "not started by hand") {
			t.Errorf("descriptor %q: %v, said %q", argument, err, out)
		}
	}
}

// children returns the processes that process pid has started.
func children(t *testing.T, pid int) (found []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		for _, id := range strings.Fields(readFields(list)) {
			child, err := strconv.Atoi(id)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, child)
		}
	}
	return found
}

// gone waits until there is no process pid.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if state := processState(pid); state == "" || state == "Z" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}
