package userns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Enter must be the first thing main does. In a process that [Start] made it
// waits until it is root, makes its mounts and executes this program again, as
// what it was started as; in any other it returns at once.
//
// The second execution makes root of it by the kernel's own rules, and nothing
// that the program found out about itself before, as nobody, is left.
func Enter() {
	if len(os.Args) < 2 || os.Args[0] != stageName {
		return
	}
	if err := stage(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: this is a part of imagewright-build and is not started by hand: %v\n", stageName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// stage becomes args.
func stage(descriptor string, args []string) error {
	runtime.LockOSThread() // what prctl and capset say is of a thread, and exec keeps it
	if err := dieWithStarter(unix.SIGKILL); err != nil {
		return err
	}
	starter, err := inherit(descriptor)
	if err != nil {
		return err
	}
	defer starter.Close()
	// From here on the death of the starter is seen: as the end of the stream,
	// or by the signal.
	death := make([]byte, 1)
	if _, err := starter.Read(death); err != nil {
		return fmt.Errorf("wait for ids: %w", err)
	}
	a := mount()
	if err := a.tell(starter); err != nil || a.Errno != 0 {
		return err
	}
	if err := errors.Join(dropInheritable(), dieWithStarter(unix.Signal(death[0]))); err != nil {
		return err
	}
	err = unix.Exec("/proc/self/exe", args, os.Environ())
	return os.NewSyscallError("exec", err)
}

// dieWithStarter has the kernel send this process a signal when the thread that
// started it ends; 0 for none.
func dieWithStarter(signal unix.Signal) error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(signal), 0, 0, 0))
}

// inherit takes the socket over that Start gave, so that the next program does
// not get it.
func inherit(descriptor string) (*os.File, error) {
	fd, err := strconv.Atoi(descriptor)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%q is no descriptor", descriptor)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("descriptor "+descriptor+": getsockopt", err)
	}
	if kind != unix.SOCK_SEQPACKET {
		return nil, errors.New("descriptor " + descriptor + " is another kind of socket")
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "starter"), nil
}

// mount parts the mounts here from those outside, tries one that every build
// makes, and mounts the /proc of a new PID namespace.
func mount() answer {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return failed("part the mounts from the system's", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	// A restricted root is seen at its first mount, not before.
	if err := unix.Mount("tmpfs", "/proc", "tmpfs", flags, "size=4k"); err != nil {
		return failed("mount a tmpfs", err)
	}
	if err := unix.Unmount("/proc", unix.MNT_DETACH); err != nil {
		return failed("unmount a tmpfs", err)
	}
	if os.Getpid() != 1 {
		return answer{}
	}
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return failed(mountProc, err)
	}
	return answer{}
}

// dropInheritable leaves nothing of the ambient capabilities that the stage
// needed: root has them all without, and its children should have no more than
// they are given.
func dropInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&header, &sets[0]))
}

// answer is what a stage tells of its mounts: what failed, if anything did.
type answer struct {
	What  string
	Errno unix.Errno
}

const mountProc = "mount /proc"

func failed(what string, err error) answer {
	a := answer{What: what, Errno: unix.EINVAL}
	errors.As(err, &a.Errno)
	return a
}

func (a answer) tell(to io.Writer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = to.Write(b)
	return err
}

// ask tells the stage that its ids are mapped, and of which signal it dies, and
// reads its answer.
func (a *answer) ask(stage io.ReadWriter, death unix.Signal) error {
	if _, err := stage.Write([]byte{byte(death)}); err != nil {
		return err
	}
	b := make([]byte, maxMessage)
	n, err := stage.Read(b) // whole: the socket keeps messages apart
	if err != nil {
		return err
	}
	return json.Unmarshal(b[:n], a)
}
