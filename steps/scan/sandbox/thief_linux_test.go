package sandbox_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"golang.org/x/sys/unix"
)

// leastWays is how many ways a thief has to know.
const leastWays = 44

// plan, outcome and report are what testdata/burglary is told and tells.
type plan struct {
	User    int
	Naked   bool
	Mode    sandbox.Mode
	Without []string
	Only    string
}

type outcome struct {
	Name, Why string
	Succeeded bool
}

type report struct {
	Status   sandbox.Status
	Outcomes []outcome
}

func (r report) succeeded() (names []string) {
	for _, o := range r.Outcomes {
		if o.Succeeded {
			names = append(names, o.Name)
		}
	}
	return names
}

// burglary is testdata/burglary, built.
type burglary struct{ program string }

func newBurglary(t *testing.T) burglary {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a household has file systems and a network of its own: only root may make them")
	}
	b := burglary{filepath.Join(t.TempDir(), "burglary")}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-tags=grpcnotrace,thief", "-o", b.program, "./testdata/burglary").CombinedOutput()
	if err != nil {
		t.Fatalf("build the thief: %v: %s", err, out)
	}
	return b
}

// run has a thief try its ways, in a household of its own.
func (b burglary) run(t *testing.T, p plan) report {
	t.Helper()
	argument, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), b.program, string(argument))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS, // household.Namespaces
		Pdeathsig:  unix.SIGKILL,
	}
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("this system allows no namespaces: %v", err)
	}
	var r report
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, words.Bytes())
	}
	if len(r.Outcomes) < leastWays && p.Only == "" {
		t.Fatalf("the thief knows %d ways, want %d at least", len(r.Outcomes), leastWays)
	}
	return r
}

// openWithoutSeccomp are the ways that Landlock leaves open.
func openWithoutSeccomp() []string {
	return []string{
		"UDP", "loot in a DNS query", "multipath TCP", "the system's addresses by netlink",
		"another process", "another process that is root of a user namespace",
		"a program out of memory", "a program out of memory in its own place", "code made at run time",
		"a key of the session", "shared memory",
	}
}

// openWithoutBoth are the ways that a changed root directory and a changed user
// leave open.
func openWithoutBoth() []string {
	return append(openWithoutSeccomp(),
		"TCP", "TCP over IPv6", "the metadata service", "an abstract Unix socket", "waiting for a caller", "a message queue",
		"a program from the scratch directory")
}

func TestAThief(t *testing.T) {
	b := newBurglary(t)
	t.Run("takes all that is not confined", func(t *testing.T) { takesAll(t, b) })
	for _, tc := range []struct {
		name string
		plan plan
		open []string // and no other way
		// warning is in the line that tells the user; "" is none.
		warning string
	}{
		{"takes nothing", plan{Mode: sandbox.Require}, nil, ""},
		{"takes nothing of a user's", plan{Mode: sandbox.Require, User: 1000}, nil, ""},
		{"takes nothing without Landlock", plan{Without: []string{"landlock"}}, nil,
			"without Landlock (this kernel has none): a changed root directory keeps your files from it"},
		{"takes nothing of a user's without Landlock", plan{User: 1000, Without: []string{"landlock"}}, nil,
			"a changed root directory keeps your files from it"},
		{"takes nothing of a user's without Landlock and namespaces", plan{User: 1000, Without: []string{"landlock", "namespaces"}}, nil,
			"it can open no file"},
		{"gets no file without seccomp", plan{Without: []string{"seccomp"}}, openWithoutSeccomp(),
			"without seccomp (this kernel has none): it could use the network"},
		{"gets no file without both", plan{Without: []string{"landlock", "seccomp"}}, openWithoutBoth(),
			"it could use the network and local services, and start programs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := b.run(t, tc.plan)
			for i, o := range r.Outcomes {
				t.Logf("%3d %s: %s", i+1, o.Name, cmp.Or(o.Why, "succeeded"))
				if o.Succeeded && !slices.Contains(tc.open, o.Name) {
					t.Errorf("%s succeeded", o.Name)
				}
			}
			t.Logf("%d of %d ways succeed. %+v %s", len(r.succeeded()), len(r.Outcomes), r.Status, r.Status.Warning())
			if got := r.Status.Warning(); !strings.Contains(got, tc.warning) || tc.warning == "" && got != "" {
				t.Errorf("the warning is %q, want %q in it", got, tc.warning)
			}
		})
	}
	t.Run("is not let in where require cannot be met", func(t *testing.T) {
		r := b.run(t, plan{Mode: sandbox.Require, Without: []string{"seccomp"}, Only: "UDP"})
		want := "cannot be confined: no seccomp (this kernel has none)"
		if o := r.Outcomes[0]; o.Succeeded || !strings.Contains(o.Why, want) {
			t.Errorf("%s: %+v, want %q", o.Name, o, want)
		}
	})
}

func takesAll(t *testing.T, b burglary) {
	r := b.run(t, plan{Naked: true})
	for i, o := range r.Outcomes {
		t.Logf("%3d %s", i+1, o.Name)
		if !o.Succeeded {
			t.Errorf("%s: %s: a way that never works proves nothing", o.Name, o.Why)
		}
	}
	t.Logf("%d of %d ways succeed", len(r.succeeded()), len(r.Outcomes))
}
