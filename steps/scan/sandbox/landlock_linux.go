package sandbox

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// scratchRights are what can be done in the scratch directory: no programs,
// devices, sockets, pipes or links.
const scratchRights landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSReadDir |
	ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir

// restrictFiles has Landlock forbid all that it knows, but for files in scratch.
// It returns the ABI of the kernel's Landlock.
func restrictFiles(scratch string) (abi int, err error) {
	abi, err = ll.LandlockGetABIVersion()
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return 0, errors.New("this kernel has none")
	case err != nil:
		return 0, err
	}
	var rules []landlock.Rule
	if scratch != "" {
		rules = append(rules, landlock.PathAccess(scratchRights, scratch))
	}
	if err := landlock.V11.BestEffort().Restrict(rules...); err != nil {
		return 0, err
	}
	// The library takes a kernel with too little for one with none, silently.
	if fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		return 0, errors.Join(fmt.Errorf("ABI %d does not hold", abi), unix.Close(fd))
	}
	return abi, nil
}
