package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

func TestAnEngineStartsAnswersAndStops(t *testing.T) {
	dir := t.TempDir()
	e := start(t, options(t, dir))
	workers, err := e.Client().ListWorkers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatalf("ListWorkers() = %d workers, %v; want one", len(workers), err)
	}
	if e.Snapshotter() == "" {
		t.Error("the snapshotter is not known")
	}
	if version := workers[0].BuildkitVersion.Version; version != moduleVersion() {
		t.Errorf("the worker calls itself %q; want the module's version, %q", version, moduleVersion())
	}
	stop(t, e)
	if mounts := mountsBelow(t, dir); len(mounts) > 0 {
		t.Errorf("mounts are left: %q", mounts)
	}
}

// BuildKit's set-up of its network removed what lay in net/proxy below the
// working directory, which is a checkout.
func TestTheWorkingDirectoryIsLeftAlone(t *testing.T) {
	checkout := t.TempDir()
	file := filepath.Join(checkout, "net", "proxy", "proxy.go")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := options(t, t.TempDir())
	t.Chdir(checkout)
	e := start(t, o)
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", e.process.Pid)); dir != o.StateDir {
		t.Errorf("the engine works in %s, %v; want its state, %s", dir, err, o.StateDir)
	}
	stop(t, e)
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file of the working directory is gone: %v", err)
	}
}

func TestNoRuntimeIsSaidWithWhatToInstall(t *testing.T) {
	for _, tc := range []struct{ name, named string }{
		{"none on PATH", ""},
		{"the named one is missing", "/nowhere/runc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Start(t.Context(), Options{
				StateDir: t.TempDir(), RuntimeBinary: tc.named, Environ: []string{"PATH=" + t.TempDir() + ":relative"},
			})
			if !errors.Is(err, ErrNoRuntime) || fault.Code(err) != fault.ExitFailed {
				t.Errorf("Start() = %v (exit %d); want ErrNoRuntime, exit 1", err, fault.Code(err))
			}
			if hint := fault.Hint(err); !strings.Contains(hint, "runc") || !strings.Contains(hint, "crun") {
				t.Errorf("hint %q does not name both packages", hint)
			}
		})
	}
}

func TestWhoIsNotRootIsToldTheWaysOut(t *testing.T) {
	for _, tc := range []struct {
		name, privilege string
		want            []string
	}{
		{"whatever works", "", []string{"sudo: ", "rootless: ", "--privileged"}},
		{"as root only", Root, []string{"root: this root is without CAP_SYS_ADMIN", "--privileged"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command("/proc/self/exe", "unprivileged", dir, tc.privilege)
			if tc.privilege == "" {
				if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 65534, 65534)); err != nil {
					t.Fatal(err)
				}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("an engine was started; it says %q", out)
			}
			for _, want := range append(tc.want, ErrNotRoot.Error()) {
				if !strings.Contains(string(out), want) {
					t.Errorf("an ordinary user is told %q; want %q in it", out, want)
				}
			}
		})
	}
}

// startUnprivileged starts an engine as an ordinary user who has neither sudo
// nor subordinate ids, or as a container's root without CAP_SYS_ADMIN.
func startUnprivileged(args []string) error {
	if os.Geteuid() == 0 {
		if err := dropSysAdmin(); err != nil {
			return err
		}
	}
	binary, err := testRuntime()
	if err != nil {
		return err
	}
	o := Options{StateDir: args[0], RuntimeBinary: binary, Privilege: args[1]}
	e, err := Start(context.Background(), o)
	if err != nil && !errors.Is(err, ErrNotRoot) {
		return fmt.Errorf("Start() = %w, which is not ErrNotRoot", err)
	}
	if err != nil {
		return fmt.Errorf("%w; %s", err, fault.Hint(err))
	}
	return e.Close()
}

func dropSysAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	data[0].Permitted &^= 1 << unix.CAP_SYS_ADMIN
	// Capset is about one thread; Go forks from any.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func TestAnEngineThatDiedIsReportedAndItsStateUsable(t *testing.T) {
	o := options(t, t.TempDir())
	var words bytes.Buffer
	o.Stderr = &words
	e := start(t, o)
	e.process.Signal(syscall.SIGQUIT) // a Go program prints what it was at
	<-e.exited
	if err := e.Close(); err == nil || !strings.Contains(err.Error(), "died: exit status 2") {
		t.Errorf("Close() = %v; want that it died, and how", err)
	}
	if !strings.Contains(words.String(), "last words") || !strings.Contains(words.String(), "goroutine ") {
		t.Errorf("printed %q; want what the engine said at last", words.String())
	}
	stop(t, start(t, o))
}

func TestTheEnginesLogIsInOursWhenThatWantsSoMuch(t *testing.T) {
	var text bytes.Buffer
	o := options(t, t.TempDir())
	o.Log = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e := start(t, o)
	mustBuild(t, e, buildContext(t, "FROM scratch\nCOPY busybox /busybox\n", nil), newLayout(t), "1700000000")
	stop(t, e)
	if !strings.Contains(text.String(), "level=DEBUG msg=engine line=") {
		t.Errorf("the log is %q; want lines of the engine", text.String())
	}
}

func TestADamagedStateIsNamed(t *testing.T) {
	o := options(t, t.TempDir())
	stop(t, start(t, o))
	paths, err := filepath.Glob(filepath.Join(o.StateDir, "runc-*", "containerdmeta.db"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("database: %q, %v", paths, err)
	}
	if err := os.WriteFile(paths[0], []byte(strings.Repeat("garbage ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), o)
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(fault.Hint(err), "remove "+o.StateDir) {
		t.Errorf("Start() = %v, hint %q; want one line and to remove the state", err, fault.Hint(err))
	}
}

func TestTheStateIsPrunedToItsSizeAtStart(t *testing.T) {
	o := options(t, t.TempDir())
	e := start(t, o)
	dir := buildContext(t, "FROM scratch\nCOPY busybox /busybox\nCOPY busybox /again\n", nil)
	mustBuild(t, e, dir, newLayout(t), "1700000000")
	before := usage(t, e)
	stop(t, e)
	o.MaxSize = 1 << 20
	e = start(t, o)
	defer stop(t, e)
	if after := usage(t, e); before < o.MaxSize || after > o.MaxSize {
		t.Errorf("the state holds %d bytes, %d before; want at most %d", after, before, o.MaxSize)
	}
}

func TestPlainHTTPIsSpokenWhereItWasNamed(t *testing.T) {
	hosts := registryHosts([]string{"named.lan", "port.lan:5000"}, nil)
	for host, want := range map[string]string{
		"named.lan": "http", "named.lan:5000": "http", "port.lan:5000": "http", "127.0.0.1:5000": "http",
		"port.lan": "https", "port.lan:5001": "https", "docker.io": "https",
	} {
		got, err := hosts(host)
		if err != nil || len(got) != 1 || got[0].Scheme != want {
			t.Errorf("%s is reached as %v, %v; want %s", host, got, err, want)
		}
	}
}

func usage(t *testing.T, e *Engine) (sum int64) {
	t.Helper()
	records, err := e.Client().DiskUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		sum += r.Size
	}
	return sum
}

func TestTheEngineStartedByHandDoesNothing(t *testing.T) {
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{engineName}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "not started by hand") {
		t.Errorf("%s: %v, %q; want exit 2 and a reason", engineName, err, out)
	}
}
