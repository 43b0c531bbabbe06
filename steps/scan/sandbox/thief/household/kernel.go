//go:build thief && linux

package household

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// terminal opens one of the user's.
func (h *Household) terminal() error {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	h.closed = append(h.closed, f.Close)
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("number: %w", err)
	}
	h.Scene.Terminal = fmt.Sprintf("/dev/pts/%d", n)
	return os.Chown(h.Scene.Terminal, h.owner, h.owner)
}

// key begins a session with one key in it.
func (h *Household) key() error {
	h.Scene.Key = "household"
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil { // without a name: nobody else's
		return fmt.Errorf("new session: %w", err)
	}
	_, err := unix.AddKey("user", h.Scene.Key, []byte(h.Canary), unix.KEY_SPEC_SESSION_KEYRING)
	return err
}

func (h *Household) sharedMemory() error {
	h.Scene.Memory = 0x5ec2e7
	id, err := unix.SysvShmGet(h.Scene.Memory, 4<<10, unix.IPC_CREAT|0o666)
	if err != nil {
		return err
	}
	data, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return err
	}
	copy(data, h.Canary)
	return unix.SysvShmDetach(data) // it goes with the namespace
}

func (h *Household) queue() error {
	h.Scene.Queue = "household"
	name, err := unix.BytePtrFromString(h.Scene.Queue)
	if err != nil {
		return err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o666, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	text := []byte(h.Canary)
	if _, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0, 0, 0); errno != 0 {
		return errors.Join(errors.New("send"), errno)
	}
	return nil
}
