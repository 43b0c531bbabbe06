package userns

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func setFilter(filter *unix.SockFprog) error {
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(filter)), 0, 0)
	runtime.KeepAlive(filter)
	return err
}

// Each of these is made here for real.
func TestTheErrorNamesTheCauseAndItsFix(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, p *place)
		causes []string
		text   string
		hint   string
	}{
		{
			"nothing is in the way", func(*testing.T, *place) {}, nil, "", "",
		}, {
			"user namespaces are turned off",
			func(t *testing.T, p *place) { p.MaxNamespaces0 = true },
			[]string{"off"}, "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=",
		}, {
			"a seccomp filter",
			func(t *testing.T, p *place) { p.Seccomp = true },
			[]string{"seccomp"}, "operation not permitted", "--security-opt seccomp=unconfined",
		}, {
			"no_new_privs",
			func(t *testing.T, p *place) { p.NoNewPrivs = true },
			[]string{"no_new_privs"}, "newuidmap", "allowPrivilegeEscalation: true",
		}, {
			"newuidmap is not installed",
			func(t *testing.T, p *place) { p.Path = openDir(t) },
			[]string{"mapper"}, `"newuidmap": executable file not found`, "apt-get install uidmap",
		}, {
			"newuidmap lost its set-user-ID bit",
			func(t *testing.T, p *place) {
				p.Path = openDir(t)
				copyFile(t, lookPath(t, "newuidmap"), p.Path, 0o755)
			},
			[]string{"mapper"}, "neither the set-user-ID bit nor a capability", "chmod u+s /",
		}, {
			"no line in either file",
			func(t *testing.T, p *place) {
				p.Files["/etc/subuid"], p.Files["/etc/subgid"] = "bob:100000:65536\n", ""
			},
			[]string{"range"}, `user "alice" (4321) in /etc/subuid and /etc/subgid`,
			"usermod --add-subuids 165536-231071 --add-subgids 100000-165535 alice",
		}, {
			"no line for the groups",
			func(t *testing.T, p *place) { p.Files["/etc/subgid"] = "# alice:1:1\nalice:x:y\n" },
			[]string{"range"}, "in /etc/subgid", "usermod --add-subgids 100000-165535 alice",
		}, {
			"a user without a name and a line",
			func(t *testing.T, p *place) { p.UID, p.GID = 4322, 4322 },
			[]string{"range"}, "user 4322 in /etc/subuid and /etc/subgid", "a name in /etc/passwd, and a line NAME:100000:65536",
		}, {
			"a user without a name that newuidmap would know",
			func(t *testing.T, p *place) {
				p.UID, p.GID = 4322, 4322
				p.Files["/etc/subuid"], p.Files["/etc/subgid"] = "4322:200000:65536\n", "4322:200000:65536\n"
			},
			nil, "newuidmap", "give it a line in /etc/passwd",
		}, {
			"a program that may be run but not read is nothing in the way",
			func(t *testing.T, p *place) { p.Program = copyFile(t, "/proc/self/exe", openDir(t), 0o711) },
			nil, "", "",
		}, {
			"a root that may not map ids",
			func(t *testing.T, p *place) {
				p.UID, p.GID, p.Less = 0, 0, []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETUID}
			},
			nil, "uid_map: operation not permitted", "capabilities SETUID, SETGID and SETFCAP",
		}, {
			"a masked /proc",
			func(t *testing.T, p *place) { p.Hidden = []string{"/proc/sys/kernel/random"} },
			nil, "", "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := alice()
			tc.change(t, &p)
			got := p.check(t)
			if diff := cmp.Diff(tc.causes, got.Causes); diff != "" {
				t.Errorf("causes (-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Error, tc.text) || (tc.text == "") != (got.Error == "") {
				t.Errorf("error %q, want %q in it", got.Error, tc.text)
			}
			if !strings.Contains(got.Hint, tc.hint) || (tc.hint == "") != (got.Hint == "") {
				t.Errorf("hint %q, want %q in it", got.Hint, tc.hint)
			}
			if want := tc.text == "" && tc.name != "a masked /proc"; got.ProcMountable != want {
				t.Errorf("a new /proc can be mounted: %t, want %t", got.ProcMountable, want)
			}
		})
	}
}

// These need another kernel, or a profile loaded into it.
func TestWhatTheKernelSaysIsExplained(t *testing.T) {
	filtered := map[string]string{"Seccomp": "2"}
	make := func(errno unix.Errno) func(system) error {
		return func(s system) error {
			return refused(&os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: errno}, s)
		}
	}
	mount := func(what string, errno unix.Errno) func(system) error {
		return func(s system) error { return answer{what, errno}.refusal(s) }
	}
	for _, tc := range []struct {
		name   string
		system system
		got    func(system) error
		cause  []string
		hint   string
	}{
		{"Debian before 11", system{clone: "0"}, make(unix.EPERM), []string{"off"}, "kernel.unprivileged_userns_clone=1"},
		{"too many levels", system{maxNamespaces: "9"}, make(unix.EUSERS), []string{"off"}, "sysctl -w user.max_user_namespaces"},
		{"a kernel without them", system{}, make(unix.EINVAL), []string{"off"}, "CONFIG_USER_NS"},
		{"Ubuntu 23.10", system{appArmor: "1"}, make(unix.EACCES), []string{"apparmor"}, "apparmor_restrict_unprivileged_userns=0"},
		{"Ubuntu 24.04", system{appArmor: "1"}, mount("mount a tmpfs", unix.EACCES), []string{"apparmor"}, "apparmor_restrict_unprivileged_userns=0"},
		{"Ubuntu 24.04, as a capability that is missing", system{appArmor: "1"}, mount("part the mounts", unix.EPERM), []string{"apparmor"}, "apparmor_restrict_unprivileged_userns=0"},
		{"Docker on Ubuntu 24.04", system{appArmor: "1", status: filtered}, make(unix.EPERM), []string{"seccomp"}, "seccomp=unconfined"},
		{"Docker with its AppArmor profile alone", system{}, mount("mount a tmpfs", unix.EACCES), []string{"apparmor"}, "apparmor=unconfined"},
		{"a filter that refuses mounts", system{status: filtered}, mount("mount a tmpfs", unix.EPERM), []string{"seccomp"}, "seccomp=unconfined"},
		{"a container that masks /proc", system{status: filtered}, mount(mountProc, unix.EPERM), []string{"proc"}, "systempaths=unconfined"},
		{"a chroot", system{}, make(unix.EPERM), nil, "chroot"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := describe(tc.got(tc.system))
			if diff := cmp.Diff(tc.cause, got.Causes); diff != "" {
				t.Errorf("%q: causes (-want +got):\n%s", got.Error, diff)
			}
			if !strings.Contains(got.Hint, tc.hint) {
				t.Errorf("hint %q, want %q in it", got.Hint, tc.hint)
			}
		})
	}
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; `make tools` installs it (apt: uidmap)", err)
	}
	return path
}
