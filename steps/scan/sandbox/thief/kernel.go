//go:build thief && linux

package thief

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelWays are what else a kernel offers.
func kernelWays(s Scene) []Way {
	return []Way{
		{Name: "a file by io_uring", Try: func(context.Context) error { return s.ring(filepath.Join(s.Home, ".ssh/id_ed25519")) }},
		{Name: "a key of the session", Try: s.readKey},
		{Name: "shared memory", Try: s.readShared},
		{Name: "a message queue", Try: s.readQueue},
		{Name: "typing into the terminal", Try: s.typeIn},
		{Name: "the kernel's log", Try: kernelLog},
		{Name: "a mount", Try: s.mount},
		{Name: "a network namespace of its own", Try: func(context.Context) error {
			return inOther("net", func() error { return unix.Unshare(unix.CLONE_NEWNET) })
		}},
		{Name: "somebody else's network namespace", Try: func(context.Context) error { return inOther("net", s.joinOther) }},
		{Name: "another root directory", Try: func(context.Context) error { return s.changeRoot() }},
		{Name: "another name of the machine", Try: rename},
		{Name: "a map in the kernel by bpf", Try: bpfMap},
		{Name: "page faults in user space", Try: faults},
		{Name: "performance events of the parent", Try: s.events},
	}
}

func (s Scene) readKey(context.Context) error {
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", s.Key, 0)
	if err != nil {
		return err
	}
	data := make([]byte, 4<<10)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, data, 0)
	if err != nil {
		return err
	}
	return s.loot(data[:n])
}

func (s Scene) readShared(context.Context) error {
	id, err := unix.SysvShmGet(s.Memory, 4<<10, 0)
	if err != nil {
		return err
	}
	data, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	if err != nil {
		return err
	}
	defer unix.SysvShmDetach(data)
	return s.loot(data)
}

func (s Scene) readQueue(context.Context) error {
	name, err := unix.BytePtrFromString(s.Queue)
	if err != nil {
		return err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	data := make([]byte, 8<<10)
	n, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, fd, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return s.loot(data[:n])
}

// typeIn puts a command where the user's shell reads.
func (s Scene) typeIn(context.Context) error {
	fd, err := unix.Open(s.Terminal, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, key := range []byte(mark) {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&key))); errno != 0 {
			return errno
		}
	}
	typed := make([]byte, len(mark))
	if n, err := unix.Read(fd, typed); err != nil || string(typed[:n]) != mark {
		return fmt.Errorf("the terminal reads %q: %w", typed[:max(n, 0)], err)
	}
	return nil
}

func kernelLog(context.Context) error {
	const readAll = 3
	n, err := unix.Klogctl(readAll, make([]byte, 4<<10))
	if err == nil && n == 0 {
		err = errors.New("it is empty")
	}
	return err
}

func (s Scene) mount(context.Context) error {
	dir := filepath.Join(s.Home, "mnt")
	if err := unix.Mount("thief", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	defer unix.Unmount(dir, 0)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err == nil && !bytes.Contains(mounts, []byte("thief "+dir+" ")) {
		err = errors.New("nothing is mounted")
	}
	return err
}

// inOther checks that a thread is in another namespace after a change.
func inOther(kind string, change func() error) error {
	path := "/proc/thread-self/ns/" + kind
	before, err := os.Readlink(path)
	if err := change(); err != nil {
		return err
	}
	after, err2 := os.Readlink(path)
	if before == after {
		return errors.Join(errors.New("it is the same one"), err, err2)
	}
	return nil
}

func (s Scene) joinOther() error {
	fd, err := unix.Open(s.OtherNet, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNET)
}

func (s Scene) changeRoot() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Chroot(s.Scratch); err != nil {
		return err
	}
	if _, err := os.Stat(s.Home); !errors.Is(err, os.ErrNotExist) {
		return errors.New("the root is the same")
	}
	return nil
}

func rename(context.Context) error {
	if err := unix.Sethostname([]byte("thief")); err != nil {
		return err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	if unix.ByteSliceToString(name.Nodename[:]) != "thief" {
		return errors.New("it did not change")
	}
	return nil
}

// bpfMap keeps a value in the kernel and gets it back.
func bpfMap(context.Context) error {
	bpf := func(command uintptr, attributes unsafe.Pointer, size uintptr) (uintptr, error) {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attributes), size)
		if errno != 0 {
			return 0, errno
		}
		return r, nil
	}
	create := struct{ kind, key, value, entries uint32 }{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1}
	fd, err := bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&create), unsafe.Sizeof(create))
	if err != nil {
		return err
	}
	defer unix.Close(int(fd))
	var key uint32
	in, out := uint32(answer), uint32(0)
	element := struct {
		fd, _             uint32
		key, value, flags uint64
	}{fd: uint32(fd), key: uint64(uintptr(unsafe.Pointer(&key))), value: uint64(uintptr(unsafe.Pointer(&in)))}
	if _, err := bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&element), unsafe.Sizeof(element)); err != nil {
		return err
	}
	element.value = uint64(uintptr(unsafe.Pointer(&out)))
	if _, err := bpf(unix.BPF_MAP_LOOKUP_ELEM, unsafe.Pointer(&element), unsafe.Sizeof(element)); err != nil {
		return err
	}
	return answered(int(out))
}

func faults(context.Context) error {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	const api, ioctl = 0xaa, 0xc018aa3f // UFFD_API, UFFDIO_API
	greeting := struct{ api, features, ioctls uint64 }{api: api}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctl, uintptr(unsafe.Pointer(&greeting))); errno != 0 {
		return errno
	}
	if greeting.ioctls == 0 {
		return errors.New("it can do nothing")
	}
	return nil
}

func (s Scene) events(context.Context) error {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
	}, s.Parent, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Read(fd, make([]byte, 8))
	return err
}
