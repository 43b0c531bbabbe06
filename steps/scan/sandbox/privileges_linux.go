package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// enclose makes scratch the root directory. So that its path leads there as
// before, the path is made anew below it; what is left of the file system is
// these empty directories.
func enclose(scratch string) error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); errno != 0 {
		return errno // a program linked with C finds its threads in /proc
	}
	inner := filepath.Join(scratch, scratch)
	if err := os.MkdirAll(inner, 0o700); err != nil {
		return err
	}
	if err := unix.Chroot(scratch); err != nil {
		return errors.Join(err, removeEmpty(inner, scratch))
	}
	return unix.Chdir("/") // else ".." still leads out
}

// removeEmpty removes dir and its parents below top.
func removeEmpty(dir, top string) error {
	for ; dir != top; dir = filepath.Dir(dir) {
		if err := unix.Rmdir(dir); err != nil {
			return err
		}
	}
	return nil
}

// shed makes an enclosed root a user that owns nothing but its enclosure, and
// gives up the capabilities of any user. What could be regained by starting a
// program, the bounding set, is moot: no_new_privs leaves a program no more than
// its starter had. https://docs.kernel.org/userspace-api/no_new_privs.html
func shed(enclosed bool, scratch string) error {
	have, err := capabilities()
	if err != nil {
		return err
	}
	// The last two are for who started this process: to end it, and to clean up.
	own := enclosed && have.permits(unix.CAP_CHOWN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL, unix.CAP_DAC_OVERRIDE) && becomeNobody(scratch)
	err = onAllThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) { // before Linux 4.3
		return err
	}
	if err := (capabilitySets{}).set(); err != nil {
		return err
	}
	if left, err := capabilities(); err != nil || left != (capabilitySets{}) {
		return errors.Join(errors.New("some are left"), err)
	}
	if own { // threads are counted per user: nobody else's count here
		return bound{"threads", unix.RLIMIT_NPROC, maxThreads}.set()
	}
	return nil
}

// firstUser is where ids begin that neither systems nor people hand out; those
// of containers (subuid) lie below.
const firstUser = 1 << 30

// becomeNobody becomes a user that no other process is, and reports whether it
// did. Root without capabilities would still own root's files, those that come
// through descriptors too. In a user namespace there is no such user; there root
// is somebody ordinary already.
func becomeNobody(scratch string) bool {
	id := firstUser + os.Getpid()
	if give(scratch, id) != nil {
		return false
	}
	// Each is for all threads.
	if errors.Join(syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)) == nil {
		return true
	}
	give(scratch, os.Geteuid())
	return false
}

// give makes user the owner of scratch and the directories on the way to it.
func give(scratch string, user int) error {
	for dir := scratch; ; dir = filepath.Dir(dir) {
		if err := os.Lchown(dir, user, user); err != nil || dir == "/" {
			return err
		}
	}
}

// hide keeps other processes of the same user from tracing this one, and it from
// opening its own memory as a file. A changed user clears both.
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set dumpable: %w", err)
	}
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0); err != nil {
		return fmt.Errorf("set the parent's death signal: %w", err)
	}
	return nil
}

// capabilitySets are a thread's, as capget(2) has them.
type capabilitySets [2]unix.CapUserData

func header() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

func capabilities() (c capabilitySets, err error) {
	if err := unix.Capget(header(), &c[0]); err != nil {
		return c, fmt.Errorf("read the capabilities: %w", err)
	}
	return c, nil
}

// permits reports whether all of these may be used.
func (c capabilitySets) permits(all ...int) bool {
	for _, one := range all {
		if c[one/32].Effective&(1<<(one%32)) == 0 {
			return false
		}
	}
	return true
}

// set makes c the capabilities of all threads.
func (c capabilitySets) set() error {
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header())), uintptr(unsafe.Pointer(&c[0])), 0)
	if errno != 0 {
		return fmt.Errorf("drop the capabilities: %w", errno)
	}
	return nil
}
