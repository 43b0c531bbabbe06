package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Command returns a command that runs this program again, to be confined by
// [Enter]: without environment and input, in a session of its own, killed when
// ctx ends or the thread that started it does. The caller may set Stdout and
// Stderr.
//
// It marks every descriptor of this process close-on-exec, also those that it
// was started with, so that none but o.Files is inherited.
func Command(ctx context.Context, o CommandOptions) (*exec.Cmd, error) {
	if err := closeOnExec(); err != nil {
		return nil, fmt.Errorf("keep descriptors from being inherited: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe") // this very file, even when its name has gone to another
	cmd.Args = []string{o.Name}
	cmd.Env = []string{} // not nil, which would be ours
	cmd.Dir = "/"
	cmd.ExtraFiles = o.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:    true, // a Ctrl-C is for us, and no terminal is theirs to type into
		Pdeathsig: unix.SIGKILL,
	}
	if abi, err := landlock.LandlockGetABIVersion(); (err != nil || abi < 1) && os.Geteuid() != 0 && canEnclose() {
		inNamespace(cmd.SysProcAttr)
	}
	return cmd, nil
}

// firstInherited is the descriptor after stdin, stdout and stderr.
const firstInherited = 3

func closeOnExec() error {
	err := unix.CloseRange(firstInherited, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil || !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	// Before Linux 5.11, or a container's filter that does not know the call.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= firstInherited {
			unix.CloseOnExec(fd) // that of ReadDir is gone already
		}
	}
	return nil
}

// inNamespace makes the process root of a user namespace of its own, in which it
// is allowed to change its root directory.
func inNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// canEnclose reports whether inNamespace keeps its promise: user namespaces may
// be turned off, forbidden by a container's filter, or be without rights, as
// AppArmor makes them.
func canEnclose() bool {
	attr := &os.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{Chroot: "/"}}
	inNamespace(attr.Sys)
	// A name that no program has: all before it is executed has worked if that is
	// what fails.
	_, err := os.StartProcess("/proc/self/fd/none", []string{"none"}, attr)
	return errors.Is(err, os.ErrNotExist)
}
