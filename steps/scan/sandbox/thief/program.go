//go:build thief && linux

package thief

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// programWays run something else than what was started.
func programWays(s Scene) []Way {
	return []Way{
		{Name: "a shell", Try: s.shell},
		{Name: "another process", Try: func(context.Context) error { return fork(0) }},
		{Name: "another process that is root of a user namespace", Try: func(context.Context) error { return fork(unix.CLONE_NEWUSER) }},
		{Name: "a program out of memory", Try: runFromMemory},
		{Name: "a program from the scratch directory", Try: s.runFromScratch},
		{Name: "code made at run time", Try: runCode},
		{Name: "a program out of memory in its own place", Try: becomeProgram},
	}
}

func (s Scene) shell(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `while read -r line; do echo "$line"; done < "$0"`, filepath.Join(s.Home, ".ssh/id_ed25519"))
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr // else os/exec opens /dev/null
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return s.loot(out)
}

// answer is what the programs and code of a thief return.
const answer = 42

// fork makes a process the way of old. It does nothing but end: no other thread
// of Go came along.
func fork(namespaces uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|namespaces, 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, answer, 0, 0)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &status, 0, nil); err != nil {
		return err
	}
	return answered(status.ExitStatus())
}

func answered(code int) error {
	if code != answer {
		return fmt.Errorf("it returned %d", code)
	}
	return nil
}

// Said is what the program of a thief writes to descriptor 3.
const Said = "succeeded\n"

// tinyProgram writes Said to descriptor 3 and exits with answer.
func tinyProgram() ([]byte, error) {
	var code []byte
	var machine elf.Machine
	switch runtime.GOARCH {
	case "amd64":
		machine = elf.EM_X86_64
		code = []byte{
			0xb8, 1, 0, 0, 0, // mov eax, SYS_write
			0xbf, 3, 0, 0, 0, // mov edi, 3
			0x48, 0x8d, 0x35, 19, 0, 0, 0, // lea rsi, [rip+19], to the text
			0xba, byte(len(Said)), 0, 0, 0, // mov edx, len
			0x0f, 0x05, // syscall
			0xb8, 60, 0, 0, 0, // mov eax, SYS_exit
			0xbf, answer, 0, 0, 0, // mov edi, answer
			0x0f, 0x05, // syscall
		}
	case "arm64":
		machine = elf.EM_AARCH64
		for _, word := range []uint32{
			0xd2800060,                        // mov x0, 3
			0x100000e1,                        // adr x1, 28 further, to the text
			0xd2800002 | uint32(len(Said))<<5, // mov x2, len
			0xd2800808,                        // mov x8, SYS_write
			0xd4000001,                        // svc 0
			0xd2800000 | answer<<5,            // mov x0, answer
			0xd2800ba8,                        // mov x8, SYS_exit
			0xd4000001,                        // svc 0
		} {
			code = binary.LittleEndian.AppendUint32(code, word)
		}
	default:
		return nil, errors.ErrUnsupported
	}
	code = append(code, Said...)
	const base, headers = 0x400000, 64 + 56
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	size := uint64(headers + len(code))
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x1000}
	program, err := binary.Append(nil, binary.LittleEndian, header)
	if err == nil {
		program, err = binary.Append(program, binary.LittleEndian, segment)
	}
	return append(program, code...), err
}

func inMemory() (fd int, err error) {
	program, err := tinyProgram()
	if err != nil {
		return -1, err
	}
	fd, err = unix.MemfdCreate("", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if _, err := unix.Write(fd, program); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func runFromMemory(context.Context) error {
	fd, err := inMemory()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return run(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func run(program string) error {
	pid, err := syscall.ForkExec(program, []string{"thief"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	return answered(status.ExitStatus())
}

// becomeProgram does not return when it succeeds.
func becomeProgram(context.Context) error {
	fd, err := inMemory()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	empty, none := []byte{0}, []uintptr{0}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&none[0])), uintptr(unsafe.Pointer(&none[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

func (s Scene) runFromScratch(context.Context) error {
	program, err := tinyProgram()
	if err != nil {
		return err
	}
	path := filepath.Join(s.Scratch, "program")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		return err
	}
	return run(path)
}

func runCode(context.Context) error {
	code := map[string][]byte{
		"amd64": {0xb8, answer, 0, 0, 0, 0xc3},                    // mov eax, answer; ret
		"arm64": {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6}, // mov w0, answer; ret
	}[runtime.GOARCH]
	if code == nil {
		return errors.ErrUnsupported
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	copy(page, code)
	if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return err
	}
	entry := unsafe.Pointer(&page[0])
	function := unsafe.Pointer(&entry) // what Go takes for a function without variables
	return answered((*(*func() int)(unsafe.Pointer(&function)))())
}
