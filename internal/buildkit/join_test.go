package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/imagewright/imagewright/internal/fault"
)

const endless = `FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo running; : %s; while true; do /busybox sleep 1; done"]
`

const quick = `FROM scratch
COPY busybox /busybox
RUN ["/busybox", "sh", "-c", "echo %s >/made"]
`

func TestASecondProgramJoinsAndOutlivesTheFirst(t *testing.T) {
	o := options(t, t.TempDir())
	marker := fmt.Sprintf("imagewright-join-%d", os.Getpid())
	first := startProgram(t, "parent", o.StateDir, buildContext(t, fmt.Sprintf(endless, marker), nil))
	second := start(t, o)
	if !second.Joined() {
		t.Error("the second program started an engine of its own")
	}
	running := noted(t, o)
	mustBuild(t, second, buildContext(t, fmt.Sprintf(quick, "one"), nil), newLayout(t), "1700000000")
	first.Process.Kill()
	first.Wait()
	mustBuild(t, second, buildContext(t, fmt.Sprintf(quick, "two"), nil), newLayout(t), "1700000000")
	eventually(t, func() string { return strings.Join(processes(t, marker), "\n") })
	eventually(t, func() string {
		if _, err := os.Stat(running[0]); err == nil {
			return "the killed program's step, " + running[0]
		}
		return ""
	})
	stop(t, second)
	if mounts := mountsBelow(t, o.StateDir); len(mounts) > 0 {
		t.Errorf("mounts are left: %q", mounts)
	}
	eventually(t, func() string { return locked(t, o.StateDir) })
}

// locked says that an engine holds the state, or "".
func locked(t *testing.T, dir string) string {
	t.Helper()
	lock, err := tryLock(dir, thisProgram())
	if err != nil {
		t.Fatal(err)
	}
	if lock == nil {
		return "the lock of " + holderOf(dir)
	}
	lock.Close()
	return ""
}

// holdEngine has an engine on the state named first, with registries spoken to
// in plain HTTP.
func holdEngine(args []string) error {
	binary, err := testRuntime()
	if err != nil {
		return err
	}
	e, err := Start(context.Background(), Options{StateDir: args[0], RuntimeBinary: binary, PlainHTTP: args[1:], Stderr: os.Stderr})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, e.Close())
}

func TestOtherSettingsWaitAndAreToldForWhom(t *testing.T) {
	o := options(t, t.TempDir())
	first := startProgram(t, "hold", o.StateDir, "named.lan")
	told := make(chan string, 2)
	o.Wait = func(holder string) { told <- holder }
	result := make(chan error, 1)
	go func() {
		second, err := Start(t.Context(), o)
		if err == nil {
			err = second.Close()
		}
		result <- err
	}()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("process %d on %s, with other settings (insecure registries)", first.Process.Pid, host)
	if holder := <-told; holder != want {
		t.Errorf("told that the state is held by %q; want %q", holder, want)
	}
	select {
	case err := <-result:
		t.Errorf("the second program did not wait: %v", err)
	default:
	}
	first.Process.Kill()
	if err := <-result; err != nil {
		t.Errorf("the second program, once the first was gone: %v", err)
	}
	if len(told) > 0 {
		t.Errorf("told again: %q", <-told)
	}
}

func TestWaitingForTheStateEndsWithTheContext(t *testing.T) {
	o := options(t, t.TempDir())
	first := start(t, o)
	defer stop(t, first)
	o.MaxSize = 1 << 40
	ctx, cancel := context.WithCancel(t.Context())
	o.Wait = func(string) { cancel() }
	_, err := Start(ctx, o)
	if !errors.Is(err, ErrStateLocked) || !errors.Is(err, context.Canceled) {
		t.Errorf("Start() = %v; want ErrStateLocked and context.Canceled", err)
	}
	if fault.Hint(err) == "" || fault.Code(err) != fault.ExitFailed {
		t.Errorf("exit code %d, hint %q; want 1 and a hint", fault.Code(err), fault.Hint(err))
	}
}

// A state whose engine cannot be reached is in another container.
func TestALockWithoutAnEngineIsWaitedFor(t *testing.T) {
	o := options(t, t.TempDir())
	lock, err := tryLock(o.StateDir, "process 7 on elsewhere")
	if err != nil || lock == nil {
		t.Fatalf("lock: %v, %v", lock, err)
	}
	var holder string
	o.Wait = func(h string) {
		holder = h
		lock.Close()
	}
	stop(t, start(t, o))
	if holder != "process 7 on elsewhere" {
		t.Errorf("told that the state is held by %q; want what the lock says", holder)
	}
}

func TestProgramsThatComeAndGoNeverFail(t *testing.T) {
	o := options(t, t.TempDir())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 6 {
				e, err := Start(t.Context(), o)
				if err != nil {
					t.Errorf("Start() = %v", err)
					return
				}
				if _, err := e.Client().ListWorkers(t.Context()); err != nil {
					t.Errorf("ListWorkers() = %v", err)
				}
				if err := e.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestTwoProgramsBuildAtOnceOnOneState(t *testing.T) {
	o := options(t, t.TempDir())
	dir := buildContext(t, fmt.Sprintf(quick, "same"), nil)
	digests := make([]string, 2)
	var wg sync.WaitGroup
	for i := range digests {
		l := newLayout(t)
		wg.Go(func() {
			e, err := Start(t.Context(), o)
			if err != nil {
				t.Errorf("Start() = %v", err)
				return
			}
			defer stop(t, e)
			root, err := build(t.Context(), e, dir, l, map[string]string{"source-date-epoch": "1700000000"}, nil)
			if err != nil {
				t.Errorf("build %d: %v", i, err)
			}
			digests[i] = root.Digest.String()
		})
	}
	wg.Wait()
	if digests[0] != digests[1] {
		t.Errorf("two builds of one context: %s and %s", digests[0], digests[1])
	}
}

func TestWhatMattersKeepsProgramsApart(t *testing.T) {
	engine := setup{
		Root: "/state", Temp: "/state/tmp", Runtime: "/bin/runc", Version: "1", PlainHTTP: []string{"a", "b"},
		Mirrors: map[string][]string{"docker.io": {"m", "n"}}, MaxSize: 1, CAs: "ca", Entitlements: []string{"network.host"},
		Network: map[string]string{"HTTP_PROXY": "p"}, Program: "process 1 on host",
	}
	for _, tc := range []struct {
		name   string
		change func(*setup)
		want   []string
	}{
		{"nothing", func(*setup) {}, nil},
		{"who it is and how much it logs", func(s *setup) { s.Program, s.Verbose, s.HostPIDs = "2", true, true }, nil},
		{"the order of registries", func(s *setup) { s.PlainHTTP = []string{"b", "a", "b"} }, nil},
		{"the order of mirrors", func(s *setup) { s.Mirrors = map[string][]string{"docker.io": {"n", "m"}} }, []string{"mirrors"}},
		{"the program", func(s *setup) { s.Version = "2" }, []string{"another version of this program"}},
		{"certificates", func(s *setup) { s.CAs = "" }, []string{"the CA bundle"}},
		{"certificates of steps", func(s *setup) { s.StepCAs = "ca" }, []string{"the CA bundle"}},
		{"a proxy", func(s *setup) { s.Network = nil }, []string{"proxies or certificates of the environment"}},
		{"two things", func(s *setup) { s.Runtime, s.Version = "/bin/crun", "2" }, []string{"another version of this program", "the runtime"}},
		{"needing less than is granted", func(s *setup) { s.Entitlements, s.Needs = []string{"network.host", "device"}, []string{"network.host"} }, nil},
		{"needing more", func(s *setup) { s.Needs = []string{"security.insecure"} }, []string{"entitlements"}},
		{"serving others", func(s *setup) { s.Serving = true }, []string{"entitlements"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			other := engine
			tc.change(&other)
			if diff := cmp.Diff(tc.want, engine.differs(other)); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheSocketIsForThisUserAndItsPathMayBeLong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	o := options(t, dir)
	first := start(t, o)
	defer stop(t, first)
	second := start(t, o)
	if !second.Joined() {
		t.Error("the engine was not joined")
	}
	stop(t, second)
	for name, want := range map[string]os.FileMode{".": 0o700, socketName: 0o600, logName: 0o600, lockName: 0o600} {
		fi, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", name, fi.Mode(), err, want)
		}
	}
}

// A joined engine's death is an error of the build, and of Close.
func TestTheDeathOfAnEngineIsToldToAllWhoUsedIt(t *testing.T) {
	o := options(t, t.TempDir())
	first, second := start(t, o), start(t, o)
	if second.process == nil || second.process.Pid != first.process.Pid {
		t.Fatalf("the engine is %v to its second program; want %v", second.process, first.process)
	}
	second.process.Kill()
	for _, e := range []*Engine{first, second} {
		<-e.exited
		if err := e.Close(); err == nil || !strings.Contains(err.Error(), "died") {
			t.Errorf("Close() = %v; want that it died", err)
		}
	}
	stop(t, start(t, o))
}
