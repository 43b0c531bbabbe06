package test

import (
	"runtime"
	"strings"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// A kernel that cannot confine is told of in one line; who requires that it can
// gets no verdict.
func TestWhatTheKernelLacksIsOneWarning(t *testing.T) {
	s := newHostileScan(t)
	s.layout("image", hello(), minimist())
	const warning = "is confined without Landlock (this kernel has none): a changed root directory keeps your files from it"
	for _, tc := range []struct {
		mode     string
		code     int
		warnings int
		says     string
	}{
		{"auto", 3, 1, "CVE-2021-44906"},
		{"require", 1, 0, "cannot be confined: no Landlock .this kernel has none.; sandbox=auto goes on"},
		{"off", 3, 0, "CVE-2021-44906"},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			s.t = t
			var o outcome
			withoutLandlock(t, func() {
				o = s.run(bounds{}, "--source=image", "--layer-cache=false", "--sandbox="+tc.mode)
			})
			o.want(t, tc.code, tc.says)
			warnings := strings.Count("\n"+o.stderr, "\nwarn: ")
			if warnings != tc.warnings || tc.warnings > 0 && !strings.Contains(o.stderr, warning) {
				t.Errorf("%d warnings, want %d:\n%s", warnings, tc.warnings, o.stderr)
			}
		})
	}
}

// withoutLandlock has do start its programs on a kernel without Landlock: to them
// its calls are not there.
func withoutLandlock(t *testing.T, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this, and the filter with it
		calls := []string{"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
		err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: calls}},
		}})
		if err != nil {
			done <- err
			return
		}
		do()
	}()
	check(t, <-done)
}
