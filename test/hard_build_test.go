package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// newBuildWorld is a registry with a base image, and a checkout of files.
func newBuildWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	w := &world{stored: t.TempDir(), checkout: t.TempDir()}
	w.registry = registry.ForTest(t, registry.Options{Dir: w.stored})
	base, err := images.Busybox()
	check(t, err)
	check(t, remote.Write(w.reference(t, "base:1"), base))
	for name, text := range files {
		path := filepath.Join(w.checkout, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(text), 0o644))
	}
	_, err = checkout.Commit(w.checkout, checkout.Options{When: commitDate()})
	check(t, err)
	return w
}

// awaits returns when the program has written text to stderr.
func (s *scene) awaits(r *run, text string) {
	s.t.Helper()
	select {
	case <-r.stderr.has(text):
	case <-r.ended:
		s.t.Fatalf("it ended before it said %q: %s\n%s", text, r.cmd.ProcessState, r.stderr)
	case <-time.After(endTimeout):
		s.t.Fatalf("it never said %q:\n%s", text, r.stderr)
	}
}

// stubborn is a step that does not want to end: it ignores every signal that a
// program can, leaves its session, and has children whose parents are gone.
const stubborn = `#!/bin/sh
trap '' TERM INT HUP QUIT PIPE
setsid sh -c 'trap "" TERM; (sh -c "echo begun; exec sleep 7200001" &); exec sleep 7200002' &
(setsid sleep 7200003 &)
while true; do sleep 7200004; done
`

func newStubbornWorld(t *testing.T) *world {
	return newBuildWorld(t, map[string]string{
		"Dockerfile": "FROM base\nCOPY stubborn.sh /\n",
		"stubborn.Dockerfile": "FROM base\nCOPY stubborn.sh /\n" +
			"RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t sh /stubborn.sh\n",
		"stubborn.sh": stubborn,
	})
}

// Whoever is killed, and however, a step goes with its build.
func TestAStubbornStepGoesWithItsBuild(t *testing.T) {
	w := newStubbornWorld(t)
	program := func(r *run) int { return r.cmd.Process.Pid }
	for _, tc := range []struct {
		name   string
		signal syscall.Signal
		whom   func(*run) int
	}{
		{"the program is asked to end", syscall.SIGTERM, program},
		{"the program is killed", syscall.SIGKILL, program},
		{"the terminal goes away", syscall.SIGHUP, program},
		{"the engine is killed", syscall.SIGKILL, engineOf},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := w.copied(t)
			s.must("build")
			before := s.holdings()
			run := s.start("build", "--file=stubborn.Dockerfile")
			s.awaits(run, "begun\n")
			below, cgroups := awaitStubborn(t, run), s.cgroups()

			check(t, syscall.Kill(tc.whom(run), tc.signal))
			run.await(t)
			if tc.signal == syscall.SIGTERM {
				checkEnd(t, run, tc.signal)
			}
			s.checkNothingRuns(below)
			checkUnused(t, filepath.Join(s.own, "state"))
			s.checkHoldings("build", before)
			s.must("build", "--no-cache")
			s.checkNothingRuns(nil)
			for _, dir := range cgroups {
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("control group %s is left", dir)
				}
			}
		})
	}
}

// engineOf is the process of a build's own engine.
func engineOf(r *run) int {
	for _, p := range descendants(r.cmd.Process.Pid) {
		if strings.HasPrefix(p.arguments, "imagewright-buildkit-engine") {
			return p.id
		}
	}
	return -1 // nobody is killed, and the test fails
}

// awaitStubborn returns what runs below a build when all four of stubborn.sh do.
func awaitStubborn(t *testing.T, r *run) []process {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(endTimeout); ; {
		below, found := descendants(r.cmd.Process.Pid), 0
		for _, p := range below {
			if strings.HasPrefix(p.arguments, "sleep\x00720000") {
				found++
			}
		}
		if found == 4 {
			return below
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d processes of the step are seen, want 4", found)
		}
	}
}

// cgroups are those of the steps that run on the scene's builder.
func (s *scene) cgroups() []string {
	s.t.Helper()
	steps, err := filepath.Glob(filepath.Join(s.own, "state", "runc-*", "steps", "*"))
	check(s.t, err)
	var found []string
	for _, step := range steps {
		for _, pattern := range []string{"/sys/fs/cgroup/buildkit/", "/sys/fs/cgroup/*/buildkit/"} {
			dirs, err := filepath.Glob(pattern + filepath.Base(step))
			check(s.t, err)
			found = append(found, dirs...)
		}
	}
	if len(found) == 0 {
		s.t.Errorf("of steps %q no control group is seen", steps)
	}
	return found
}

// checkUnused waits until no process works in a builder's state, and nothing of
// it is mounted, in whatever namespace.
func checkUnused(t *testing.T, state string) {
	t.Helper()
	deadline := time.After(endTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := mountsOf(state) + worksIn(state)
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("the state is still used: %s", left)
			return
		}
	}
}

func worksIn(dir string) string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cwd") // only a bad pattern is an error
	for _, path := range paths {
		if at, _ := os.Readlink(path); at == dir { // an error: it is gone
			return path
		}
	}
	return ""
}

func mountsOf(dir string) string {
	paths, _ := filepath.Glob("/proc/[0-9]*/mountinfo") // only a bad pattern is an error
	for _, path := range paths {
		text, _ := os.ReadFile(path) // an error: it is gone
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, dir) {
				return fmt.Sprintf("%s: %s", path, line)
			}
		}
	}
	return ""
}
