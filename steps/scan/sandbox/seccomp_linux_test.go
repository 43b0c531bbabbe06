package sandbox

import (
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// filter is a policy as the kernel runs it.
type filter struct {
	vm   *bpf.VM
	info *arch.Info
}

func newFilter(t *testing.T, paths bool) filter {
	t.Helper()
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	p := policy(info.SyscallNames, paths)
	program, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return filter{vm, info}
}

// decide runs the filter on a system call. The machine reads every word
// big-endian; where the halves of an argument are is little-endian, as it is on
// all that the library knows.
func (f filter) decide(t *testing.T, machine arch.AuditArch, number int, args ...uint64) seccomp.Action {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data, uint32(number))
	binary.BigEndian.PutUint32(data[4:], uint32(machine))
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	verdict, err := f.vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return seccomp.Action(verdict)
}

const (
	allowed = seccomp.ActionAllow
	refused = seccomp.ActionErrno | seccomp.Action(unix.EPERM)
)

func TestOnlyTheCallsOfTheListAreAllowed(t *testing.T) {
	for _, paths := range []bool{false, true} {
		f := newFilter(t, paths)
		list := calls()
		if paths {
			list = append(list, pathCalls()...)
		}
		conditional := map[string]bool{"clone3": true}
		for _, c := range conditions() {
			conditional[c.Name] = true
		}
		for name, number := range f.info.SyscallNames {
			if conditional[name] {
				continue
			}
			want := refused
			if slices.Contains(list, name) {
				want = allowed
			}
			if got := f.decide(t, f.info.ID, number); got != want {
				t.Errorf("paths %v: %s: %#x, want %#x", paths, name, got, want)
			}
		}
	}
}

func TestArgumentsDecide(t *testing.T) {
	const goThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	self, other := uint64(os.Getpid()), uint64(os.Getppid())
	f := newFilter(t, true)
	for _, tc := range []struct {
		what string
		call string
		args []uint64
		want seccomp.Action
	}{
		{"a thread", "clone", []uint64{goThread}, allowed},
		{"a thread of Go on amd64", "clone", []uint64{goThread | unix.CLONE_SETTLS}, allowed},
		{"a process", "clone", []uint64{uint64(unix.SIGCHLD)}, refused},
		{"a process that shares memory", "clone", []uint64{unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)}, refused},
		{"a thread in other namespaces", "clone", []uint64{goThread | unix.CLONE_NEWNET}, refused},
		{"a thread that is traced", "clone", []uint64{goThread | unix.CLONE_PTRACE}, refused},
		{"clone3", "clone3", nil, seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
		{"memory", "mmap", []uint64{0, 4096, unix.PROT_READ | unix.PROT_WRITE}, allowed},
		{"code", "mmap", []uint64{0, 4096, unix.PROT_READ | unix.PROT_EXEC}, refused},
		{"memory that becomes code", "mprotect", []uint64{0, 4096, unix.PROT_EXEC}, refused},
		{"a signal to a thread", "tgkill", []uint64{self, self, uint64(unix.SIGURG)}, allowed},
		{"a signal to the parent", "tgkill", []uint64{other, other, uint64(unix.SIGURG)}, refused},
		{"a signal to itself", "kill", []uint64{self, uint64(unix.SIGABRT)}, allowed},
		{"a signal to the parent", "kill", []uint64{other, uint64(unix.SIGKILL)}, refused},
		{"a signal to everybody", "kill", []uint64{0xffffffff, uint64(unix.SIGKILL)}, refused},
		{"a signal to a number cut off", "kill", []uint64{self | 1<<32, uint64(unix.SIGKILL)}, refused},
		{"to the other end", "sendto", []uint64{3, 0, 0, 0, 0, 0}, allowed},
		{"to an address", "sendto", []uint64{3, 0, 0, 0, 0xc000000000, 16}, refused},
		{"a lock", "fcntl", []uint64{3, unix.F_SETLK}, allowed},
		{"flags", "fcntl", []uint64{3, unix.F_SETFL}, allowed},
		{"whom to signal", "fcntl", []uint64{3, unix.F_SETOWN, other}, refused},
		{"by which signal", "fcntl", []uint64{3, unix.F_SETSIG, uint64(unix.SIGKILL)}, refused},
		{"the size of a pipe", "fcntl", []uint64{3, unix.F_SETPIPE_SZ, 1 << 20}, refused},
		{"a name for memory", "prctl", []uint64{unix.PR_SET_VMA}, allowed},
		{"dumpable again", "prctl", []uint64{unix.PR_SET_DUMPABLE, 1}, refused},
	} {
		if got := f.decide(t, f.info.ID, f.info.SyscallNames[tc.call], tc.args...); got != tc.want {
			t.Errorf("%s (%s): %#x, want %#x", tc.what, tc.call, got, tc.want)
		}
	}
}

func TestCallsOfOtherArchitecturesAreRefused(t *testing.T) {
	f := newFilter(t, true)
	for _, other := range []*arch.Info{arch.I386, arch.ARM, arch.X86_64, arch.AARCH64} {
		if other.ID == f.info.ID {
			continue
		}
		for name, number := range other.SyscallNames {
			if got := f.decide(t, other.ID, number); got == allowed {
				t.Errorf("%s of %s is allowed", name, other.Name)
			}
		}
	}
	if f.info.ID == arch.X86_64.ID {
		for name, number := range arch.X32.SyscallNames {
			if got := f.decide(t, f.info.ID, number|arch.X32.SeccompMask); got == allowed {
				t.Errorf("%s of x32 is allowed", name)
			}
		}
	}
}

// A call that is misspelt would be left out, silently.
func TestEveryCallOfTheListExists(t *testing.T) {
	known := maps.Clone(arch.X86_64.SyscallNames)
	maps.Copy(known, arch.AARCH64.SyscallNames)
	for _, name := range slices.Concat(calls(), pathCalls()) {
		if _, ok := known[name]; !ok {
			t.Errorf("no architecture has a call %s", name)
		}
	}
	for _, c := range conditions() {
		for _, info := range []*arch.Info{arch.X86_64, arch.AARCH64} {
			if _, ok := info.SyscallNames[c.Name]; !ok {
				t.Errorf("%s has no call %s", info.Name, c.Name)
			}
		}
	}
}
