package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// calls are allowed whatever their arguments. None takes a path or makes a
// descriptor for anything that this process does not have. An architecture has
// some of them only.
func calls() []string {
	return []string{
		// memory
		"brk", "madvise", "mincore", "mremap", "msync", "munmap",
		// threads
		"exit", "exit_group", "futex", "getcpu", "gettid", "rseq", "sched_getaffinity", "sched_yield", "set_robust_list",
		// signals, among threads: see conditions
		"restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
		// time and chance
		"clock_getres", "clock_gettime", "clock_nanosleep", "getrandom", "gettimeofday", "nanosleep", "time",
		// who am I
		"getegid", "geteuid", "getgid", "getpid", "getuid",
		// descriptors
		"close", "copy_file_range", "dup", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "fadvise64", "fallocate",
		"fdatasync", "flock", "fstat", "fsync", "ftruncate", "lseek", "pipe2", "pread64", "preadv", "pwrite64", "pwritev", "read",
		"readv", "sendfile", "splice", "write", "writev",
		// sockets that are there already
		"recvfrom", "recvmsg", "sendmsg", "shutdown",
	}
}

// pathCalls take a path, which a filter cannot read: they are for who is held by
// Landlock or by another root directory. What Landlock leaves free is not among
// them: owners, modes, times and attributes, truncating, links, the working
// directory.
func pathCalls() []string {
	return []string{
		"access", "faccessat", "faccessat2", "fstatat", "getcwd", "getdents64", "lstat", "mkdir", "mkdirat", "newfstatat", "open",
		"openat", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "stat", "statx", "unlink", "unlinkat",
	}
}

// namespaces are the flags of clone that make one, and those that have another
// process trace or own what is made.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME | unix.CLONE_PTRACE | unix.CLONE_PARENT

// conditions are the calls that are allowed with some arguments only: all of a
// group have to hold. Groups with the same name are alternatives.
func conditions() []seccomp.NameWithConditions {
	is := func(argument uint32, value int) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: uint64(value)}
	}
	lacks := func(argument uint32, bits uint64) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: seccomp.BitsNotSet, Value: bits}
	}
	self := os.Getpid()
	allowed := []seccomp.NameWithConditions{
		// A thread, never a process.
		{Name: "clone", Conditions: []seccomp.Condition{
			{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}, lacks(0, namespaces)}},
		// Go makes no code at run time; who takes over the process would.
		{Name: "mmap", Conditions: []seccomp.Condition{lacks(2, unix.PROT_EXEC)}},
		{Name: "mprotect", Conditions: []seccomp.Condition{lacks(2, unix.PROT_EXEC)}},
		// Go interrupts its own threads.
		{Name: "kill", Conditions: []seccomp.Condition{is(0, self)}},
		{Name: "tgkill", Conditions: []seccomp.Condition{is(0, self)}},
		// To the other end, not to an address.
		{Name: "sendto", Conditions: []seccomp.Condition{is(4, 0)}},
		// Go names its memory.
		{Name: "prctl", Conditions: []seccomp.Condition{is(0, unix.PR_SET_VMA)}},
	}
	// Not F_SETOWN and its kin, which send signals to anybody.
	for _, command := range []int{
		unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL,
		unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW,
	} {
		allowed = append(allowed, seccomp.NameWithConditions{Name: "fcntl", Conditions: []seccomp.Condition{is(1, command)}})
	}
	return allowed
}

// policy allows the calls above, with or without those that take paths. All
// others fail with EPERM, those of other architectures too.
func policy(known map[string]int, paths bool) seccomp.Policy {
	names := calls()
	if paths {
		names = append(names, pathCalls()...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { _, ok := known[name]; return !ok })
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno, // EPERM
		Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionAllow, Names: names, NamesWithCondtions: conditions()},
			// With this error the C library, in a program linked with it, uses clone.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}
}

// filterCalls has the kernel refuse all calls but those of the policy, in every
// thread.
func filterCalls(paths bool) error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err // an architecture that the library does not know
	}
	runtime.LockOSThread() // the one that loads is the one that is tested
	defer runtime.UnlockOSThread()
	err = seccomp.LoadFilter(seccomp.Filter{Flag: seccomp.FilterFlagTSync, Policy: policy(info.SyscallNames, paths)})
	switch {
	case errors.Is(err, unix.ENOSYS):
		return errors.New("this kernel has none")
	case err != nil:
		return err
	}
	// A thread that could not follow is no error to the library.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		return errors.Join(errors.New("it does not hold"), unix.Close(fd))
	}
	if !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("it does not hold: %w", err)
	}
	return nil
}
