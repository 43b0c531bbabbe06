//go:build thief && linux

package thief

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lastDescriptor is as far as descriptors are tried one by one.
const lastDescriptor = 255

// processWays are about the parent, which has the secrets, and about getting
// back what this process had.
func processWays(s Scene) []Way {
	parent := fmt.Sprintf("/proc/%d/", s.Parent)
	return []Way{
		{Name: "its own environment", Try: func(context.Context) error { return s.loot([]byte(strings.Join(os.Environ(), "\n"))) }},
		{Name: "its own environment in /proc", Try: func(context.Context) error { return s.read("/proc/self/environ") }},
		{Name: "the parent's environment", Try: func(context.Context) error { return s.read(parent + "environ") }},
		{Name: "the parent's command line", Try: func(context.Context) error { return s.read(parent + "cmdline") }},
		{Name: "the parent's memory in /proc", Try: s.memoryInProc},
		{Name: "the parent's memory by process_vm_readv", Try: s.memoryByCall},
		{Name: "the parent's memory by ptrace", Try: s.memoryByPtrace},
		{Name: "changing the parent's memory", Try: s.changeMemory},
		{Name: "the parent's open files in /proc", Try: func(context.Context) error {
			return s.anyDescriptor(func(fd int) error { return s.openDescriptor(fmt.Sprintf("%sfd/%d", parent, fd)) })
		}},
		{Name: "the parent's open files by pidfd_getfd", Try: s.filesByPidfd},
		{Name: "the parent's working directory", Try: func(context.Context) error { return s.read(parent + "cwd/.git/config") }},
		{Name: "the parent's root directory", Try: func(context.Context) error { return s.read(parent + "root/etc/shadow") }},
		{Name: "a descriptor that leaked", Try: func(context.Context) error { return s.anyDescriptor(s.readDescriptor) }},
		{Name: "a lent file, opened anew for writing", Try: func(context.Context) error { return s.anyDescriptor(reopen) }},
		{Name: "its own memory in /proc", Try: ownMemory},
		{Name: "being dumpable again", Try: dumpable},
		{Name: "capabilities again", Try: capable},
		{Name: "being another user", Try: becomeAnother},
		{Name: "lifting its limits", Try: liftLimits},
		{Name: "setting the parent's limits", Try: s.limitParent},
		{Name: "slowing the parent down", Try: s.slowParent},
	}
}

// target is a piece of the parent's memory: around the loot, or the end of the
// stack, where the kernel puts the environment.
func (s Scene) target() (address uintptr, size int) {
	if s.Address != 0 {
		return s.Address, 64
	}
	const end = 4 << 10
	maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.Parent))
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err == nil && strings.HasSuffix(line, "[stack]\n") {
			return to - end, end
		}
	}
	return 0x7ffffffff000 - end, end // where it would be if the kernel chose no place by chance
}

func (s Scene) memoryInProc(context.Context) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", s.Parent))
	if err != nil {
		return err
	}
	defer f.Close()
	address, size := s.target()
	data := make([]byte, size)
	n, err := f.ReadAt(data, int64(address))
	if n == 0 {
		return err
	}
	return s.loot(data[:n])
}

func (s Scene) memoryByCall(context.Context) error {
	address, size := s.target()
	data := make([]byte, size)
	local := []unix.Iovec{{Base: &data[0], Len: uint64(size)}}
	n, err := unix.ProcessVMReadv(s.Parent, local, []unix.RemoteIovec{{Base: address, Len: size}}, 0)
	if err != nil {
		return err
	}
	return s.loot(data[:n])
}

func (s Scene) memoryByPtrace(context.Context) error {
	parent := s.Parent
	if err := unix.PtraceAttach(parent); err != nil {
		return err
	}
	defer unix.PtraceDetach(parent)
	if _, err := unix.Wait4(parent, nil, unix.WALL, nil); err != nil {
		return err
	}
	address, size := s.target()
	data := make([]byte, size)
	n, err := unix.PtracePeekData(parent, address, data)
	if err != nil {
		return err
	}
	return s.loot(data[:n])
}

func (s Scene) changeMemory(context.Context) error {
	if s.Variable == 0 {
		return errors.New("nothing is known that may be changed")
	}
	value := binary.NativeEndian.AppendUint64(nil, 0x6465746c6f766572)
	local, remote := []unix.Iovec{{Base: &value[0], Len: 8}}, []unix.RemoteIovec{{Base: s.Variable, Len: 8}}
	if _, err := unix.ProcessVMWritev(s.Parent, local, remote, 0); err != nil {
		return err
	}
	now := make([]byte, 8)
	if _, err := unix.ProcessVMReadv(s.Parent, []unix.Iovec{{Base: &now[0], Len: 8}}, remote, 0); err != nil {
		return err
	}
	if !bytes.Equal(now, value) {
		return errors.New("it did not change")
	}
	return nil
}

// anyDescriptor tries all but the standard ones. Its error is that of the last
// one there is.
func (s Scene) anyDescriptor(try func(fd int) error) error {
	var last error = unix.EBADF
	for fd := 3; fd <= lastDescriptor; fd++ {
		err := try(fd)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBADF) && !errors.Is(err, unix.ENOENT) {
			last = err
		}
	}
	return last
}

func (s Scene) readDescriptor(fd int) error {
	data := make([]byte, 4<<10)
	n, err := unix.Pread(fd, data, 0)
	if err != nil {
		return err
	}
	return s.loot(data[:n])
}

func (s Scene) openDescriptor(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // some are pipes
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return s.readDescriptor(fd)
}

func (s Scene) filesByPidfd(context.Context) error {
	parent, err := unix.PidfdOpen(s.Parent, 0)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return s.anyDescriptor(func(theirs int) error {
		fd, err := unix.PidfdGetfd(parent, theirs, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return s.readDescriptor(fd)
	})
}

// reopen makes a file that may only be read one that may be written.
func reopen(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY || stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Mode&0o200 == 0 {
		return errors.New("it is not a file that can only be read")
	}
	return leaveMark(fmt.Sprintf("/proc/self/fd/%d", fd), 0)
}

func ownMemory(context.Context) error {
	f, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	variable := new(byte)
	if _, err := f.WriteAt([]byte{1}, int64(uintptr(unsafe.Pointer(variable)))); err != nil {
		return err
	}
	if *variable != 1 {
		return errors.New("it did not change")
	}
	return nil
}

func dumpable(context.Context) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return err
	}
	_, err := os.Open("/proc/self/environ") // root's, as long as it is not
	return err
}

// capable takes what is permitted into use, and uses it.
func capable(context.Context) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	if data[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) == 0 {
		return errors.New("nothing was permitted")
	}
	return nil
}

func becomeAnother(context.Context) error {
	const another = 12345
	if _, _, errno := unix.RawSyscall(unix.SYS_SETUID, another, 0, 0); errno != 0 {
		return errno
	}
	if now, _, _ := unix.RawSyscall(unix.SYS_GETUID, 0, 0, 0); now != another {
		return fmt.Errorf("it is user %d", now)
	}
	return nil
}

// liftLimits raises what a parent lowered for its children, or anybody did.
func liftLimits(context.Context) error {
	for _, resource := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(resource, &limit); err != nil {
			return err
		}
		before := limit.Cur
		limit.Cur = limit.Max
		if err := unix.Setrlimit(resource, &limit); err != nil {
			return err
		}
		if err := unix.Getrlimit(resource, &limit); err == nil && limit.Cur > before {
			return nil
		}
	}
	return errors.New("none could be higher")
}

func (s Scene) limitParent(context.Context) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(s.Parent, unix.RLIMIT_MSGQUEUE, &unix.Rlimit{Cur: 1, Max: 1}, nil); err != nil {
		return err
	}
	if err := unix.Prlimit(s.Parent, unix.RLIMIT_MSGQUEUE, nil, &limit); err != nil {
		return err
	}
	if limit.Max != 1 {
		return errors.New("it did not change")
	}
	return nil
}

func (s Scene) slowParent(context.Context) error {
	const nice = 5
	if err := unix.Setpriority(unix.PRIO_PROCESS, s.Parent, nice); err != nil {
		return err
	}
	if now, err := unix.Getpriority(unix.PRIO_PROCESS, s.Parent); err != nil || 20-now != nice { // as the kernel returns it
		return fmt.Errorf("its priority is %d: %w", now, err)
	}
	return nil
}
