package userns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

// TestMain makes the test binary the programs of these tests as well: "place"
// becomes an ordinary user somewhere, then "check", "hurry" and "start" use the
// package, and "nothing" and "report" are what they start.
func TestMain(m *testing.M) {
	Enter()
	switch os.Args[0] {
	case "place":
		exit(beUser(os.Args[1], os.Args[2:]))
	case "check":
		exit(printCheck())
	case "nothing":
		exit(nil)
	case "hurry":
		exit(printHurry())
	case "start":
		exit(startReport(os.Args[1:]))
	case "report":
		exit(report())
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// place is where an ordinary user is.
type place struct {
	UID, GID int
	Files    map[string]string // put in place of these, in a mount namespace of its own
	Hidden   []string          // directories covered by nothing
	Path     string            // PATH
	Env      []string

	MaxNamespaces0 bool // in a user namespace that allows none below it
	NoNewPrivs     bool
	Less           []uintptr // capabilities that are out of reach
	Seccomp        bool      // a filter refuses new user namespaces with EPERM
	Program        string    // the program's file; "" for this one
}

// alice is an ordinary user of a usual system.
func alice() place {
	return place{
		UID: 4321, GID: 4321, Path: os.Getenv("PATH"),
		Files: map[string]string{
			"/etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:4321:4321::/home/alice:/bin/sh\n",
			"/etc/group":  "root:x:0:\nalice:x:4321:\n",
			"/etc/subuid": "bob:100000:65536\nalice:200000:65536\n",
			"/etc/subgid": "bob:100000:65536\nalice:300000:65536\n",
		},
	}
}

// command returns args[0] of this program as the user p at its place. What is
// changed there ends with it, whatever becomes of it.
func (p place) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests become another user: run them as root")
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = append([]string{"place", string(b)}, args...)
	cmd.Env = append([]string{"PATH=" + p.Path}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if p.MaxNamespaces0 {
		every := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 17}}
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = every, every
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	return cmd
}

// beUser arranges the place, as root, and becomes its user running args.
func beUser(described string, args []string) error {
	runtime.LockOSThread() // no_new_privs and seccomp are a thread's, and exec keeps them
	var p place
	if err := json.Unmarshal([]byte(described), &p); err != nil {
		return err
	}
	if err := p.arrange(); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(p.GID), syscall.Setuid(p.UID)); err != nil {
		return err
	}
	program := "/proc/self/exe"
	if p.Program != "" {
		program = p.Program
	}
	return unix.Exec(program, args, os.Environ())
}

func (p place) arrange() error {
	for path, text := range p.Files {
		if err := cover(path, text); err != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	for _, dir := range p.Hidden {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k,mode=0755"); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	if p.MaxNamespaces0 {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
	}
	if p.Seccomp {
		if err := refuseUserNamespaces(); err != nil {
			return err
		}
	}
	for _, c := range p.Less {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
	if p.NoNewPrivs {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}

// cover mounts a file with text over path; the file itself has no name any more.
func cover(path, text string) error {
	f, err := os.CreateTemp("", "cover-*")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if err := errors.Join(f.Chmod(0o644), os.WriteFile(f.Name(), []byte(text), 0)); err != nil {
		return err
	}
	return unix.Mount(f.Name(), path, "", unix.MS_BIND, "")
}

// refuseUserNamespaces does what Docker's filter does: clone(CLONE_NEWUSER) is
// answered with EPERM. The structure is that of seccomp(2).
func refuseUserNamespaces() error {
	const number, firstArgument = 0, 16
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: firstArgument},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_NEWUSER, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return setFilter(&filter)
}

// checked is what Start said to a user.
type checked struct {
	Error, Hint   string
	Causes        []string
	ProcMountable bool
}

func causes() map[string]error {
	return map[string]error{
		"off": ErrOff, "apparmor": ErrAppArmor, "seccomp": ErrSeccomp, "no_new_privs": ErrNoNewPrivs, "mapper": ErrNoMapper,
		"range": ErrNoRange, "proc": ErrMaskedProc,
	}
}

func describe(err error) (c checked) {
	if err == nil {
		return c
	}
	c.Error, c.Hint = err.Error(), fault.Hint(err)
	for _, name := range slices.Sorted(maps.Keys(causes())) {
		if errors.Is(err, causes()[name]) {
			c.Causes = append(c.Causes, name)
		}
	}
	return c
}

// check starts nothing in all namespaces that an engine has; without one for
// processes where a masked /proc forbids that.
func check(ctx context.Context) error {
	err := try(ctx, unix.CLONE_NEWPID)
	if errors.Is(err, ErrMaskedProc) {
		return try(ctx, 0)
	}
	return err
}

func try(ctx context.Context, flags uintptr) error {
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"nothing"}, Env: []string{},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: flags},
	}
	if err := Start(ctx, cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

func printCheck() error {
	ctx, stop := deadline()
	defer stop()
	c := describe(check(ctx))
	c.ProcMountable = try(ctx, unix.CLONE_NEWPID) == nil
	return json.NewEncoder(os.Stdout).Encode(c)
}

// check returns what Start says to p.
func (p place) check(t *testing.T) (c checked) {
	t.Helper()
	output(t, p.command(t, "check"), &c)
	return c
}

// output runs cmd and reads the JSON it prints into v.
func output(t *testing.T, cmd *exec.Cmd, v any) {
	t.Helper()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args[:1], " "), err, &said)
	}
	if said.Len() > 0 {
		t.Errorf("printed to its log: %s", &said)
	}
	if err := json.Unmarshal(out.Bytes(), v); err != nil {
		t.Fatalf("%v in %q", err, out.Bytes())
	}
}

// copyFile puts a copy of from into dir, root's, with exactly mode.
func copyFile(t *testing.T, from, dir string, mode os.FileMode) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, filepath.Base(from))
	if err := errors.Join(os.WriteFile(to, b, 0o700), os.Chmod(to, mode)); err != nil {
		t.Fatal(err)
	}
	return to
}

// openDir returns a directory that every user can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
