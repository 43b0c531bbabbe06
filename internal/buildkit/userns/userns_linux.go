// Package userns starts a program as root of a user namespace, which an
// ordinary user may make where the system lets them: what a build without root
// needs.
//
// [Start] starts it, [Enter] is the other half in the started process. Who cannot have a user namespace is told what stands in the way
// and the command that removes it, by [fault.Hint]; the causes are the errors
// below, for errors.Is.
//
// The rules are those of user_namespaces(7), newuidmap(1) and subuid(5).
package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// Causes, for errors.Is. What is returned says more, and has a hint.
var (
	// ErrOff is returned when the kernel makes no user namespace for ordinary
	// users, or no more of them.
	ErrOff = errors.New("user namespaces are turned off")

	// ErrAppArmor is returned when AppArmor forbids them, or leaves root of one
	// without its rights, as Ubuntu does since 24.04.
	ErrAppArmor = errors.New("AppArmor restricts user namespaces")

	// ErrSeccomp is returned when a seccomp filter refuses them, as Docker's does.
	ErrSeccomp = errors.New("a seccomp filter refuses user namespaces")

	// ErrNoNewPrivs is returned when newuidmap may not gain the privilege it has.
	ErrNoNewPrivs = errors.New("no_new_privs is set")

	// ErrNoMapper is returned when newuidmap or newgidmap is missing or has lost
	// its privilege.
	ErrNoMapper = errors.New("newuidmap and newgidmap cannot be used")

	// ErrNoRange is returned when /etc/subuid or /etc/subgid gives the user
	// nothing. One id alone could be had without them, but an image with a file
	// of a second owner cannot be unpacked then.
	ErrNoRange = errors.New("the user has no subordinate ids")

	// ErrMaskedProc is returned when a PID namespace was asked for and /proc
	// cannot be mounted in it, as in a container that masks parts of it. Without
	// CLONE_NEWPID Start works.
	ErrMaskedProc = errors.New("/proc cannot be mounted anew")
)

const (
	// stageName is the first argument of a process between its start and Enter;
	// the second is its descriptor, then follow those it was started with.
	stageName = "imagewright-userns"

	patience   = 30 * time.Second // for a start; newuidmap may ask a directory server
	maxMessage = 4 << 10          // bytes of an answer
)

// Start starts cmd in a user and a mount namespace of its own, and in those
// that cmd.SysProcAttr.Cloneflags asks for. There the caller is root with all
// capabilities, and the ranges that /etc/subuid and /etc/subgid give them are
// the ids from 1. A root that lacks only CAP_SYS_ADMIN, as in a container, keeps
// the ids it has. When Start returns, cmd runs or is about to; cmd.Wait is the
// caller's to call.
//
// cmd must run this very program (Path "/proc/self/exe"), whose main calls
// [Enter] first. Its Args and Env arrive as they are, its ExtraFiles from
// descriptor 3 on. Start adds to Args, ExtraFiles and SysProcAttr, so that a cmd
// serves once. No mount made in there is seen out here; what is unmounted here
// goes there too.
//
// Until cmd is the program again it is killed when the thread that called Start
// ends: lock it (https://go.dev/issue/27505). From then on Pdeathsig counts.
//
// With CLONE_NEWPID the new /proc is mounted already. In a container that masks
// parts of /proc the kernel forbids that: the error is [ErrMaskedProc], and the
// same works without CLONE_NEWPID, at a price: what cmd leaves running stays.
//
// runc and crun run by cmd write to $XDG_RUNTIME_DIR, not to /run, as long as
// cmd.Env has no USER=root: set one that is writable.
func Start(ctx context.Context, cmd *exec.Cmd) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	here, there, err := socketPair()
	if err != nil {
		return err
	}
	defer here.Close()
	death, err := prepare(cmd, there)
	if err != nil {
		there.Close()
		return err
	}
	err = cmd.Start()
	there.Close()
	if err != nil {
		return refused(err, observe())
	}
	if err := settle(ctx, cmd.Process.Pid, here, death); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	return nil
}

// prepare has cmd begin as a stage that holds the other end of our socket. It
// returns the signal that cmd, not the stage, gets when its starter dies.
func prepare(cmd *exec.Cmd, there *os.File) (death syscall.Signal, err error) {
	capabilities, err := everyCapability()
	if err != nil {
		return 0, err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	attr := cmd.SysProcAttr
	attr.Cloneflags |= unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	attr.Unshareflags &^= unix.CLONE_NEWNS // one is enough, and its mounts are the stage's
	death, attr.Pdeathsig = attr.Pdeathsig, unix.SIGKILL
	// No id is mapped when the stage is executed, so it is not root and would
	// lose its capabilities there, were they not ambient: capabilities(7).
	attr.AmbientCaps = capabilities
	cmd.Args = append([]string{stageName, strconv.Itoa(3 + len(cmd.ExtraFiles))}, cmd.Args...)
	cmd.ExtraFiles = append(cmd.ExtraFiles, there)
	return death, nil
}

// settle maps the ids of the stage pid and waits until it has made its mounts.
func settle(ctx context.Context, pid int, stage *os.File, death syscall.Signal) error {
	if err := mapIDs(ctx, pid); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { stage.SetDeadline(time.Now()) })
	defer stop()
	var a answer
	if err := errors.Join(a.ask(stage, death), context.Cause(ctx)); err != nil {
		return fmt.Errorf("enter a user namespace: %w", err)
	}
	return a.refusal(observe())
}

// Inside reports whether this process is in a user namespace already, as in a
// rootless container. Its root has no control groups, and what a container masks
// stays masked: Start works there too.
func Inside() bool { return userns.RunningInUserNS() }

// everyCapability returns all that this kernel knows.
func everyCapability() ([]uintptr, error) {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return nil, err
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 6)
	if err != nil {
		return nil, fmt.Errorf("/proc/sys/kernel/cap_last_cap: %w", err)
	}
	var all []uintptr
	for c := range uintptr(last) + 1 {
		all = append(all, c)
	}
	return all, nil
}

// socketPair returns an end for here, which heeds deadlines, and one to inherit.
func socketPair() (here, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "stage"), os.NewFile(uintptr(fds[1]), "starter"), nil
}
