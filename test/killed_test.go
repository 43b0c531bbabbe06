package test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
)

// moment is where a step is stopped.
type moment struct {
	name  string
	step  string
	args  []string
	again []string                 // of the run after it; nil means args
	stall func(*http.Request) bool // the request that gets no answer; nil waits for a build's RUN
	gone  string                   // a record that the step takes away before it begins
	after func(*scene)             // holds the others to what they still have
}

// moments are points in the middle of the steps that talk to somebody.
// REGISTRY in arguments is the scene's way to the registry; its repositories
// new and old are the scene's own.
func moments() []moment {
	push, prune := []string{"--images=REGISTRY/new"}, []string{"apply", "--repositories=REGISTRY/old", "--keep-last=1", "--grace=0"}
	return []moment{
		{name: "build runs a step", step: "build", args: []string{"--file=busy.Dockerfile"}, again: []string{"--file=Dockerfile"}, after: (*scene).oldImageGoesOn},
		{name: "build pulls its base", step: "build", stall: asks("GET", "/base/blobs/"), after: (*scene).oldImageGoesOn},
		{name: "scan pulls the database", step: "scan", stall: asks("GET", "/trivy-db/blobs/"), gone: "scan", after: (*scene).pushIsRefused},
		{name: "scan pulls the image", step: "scan", args: []string{"--source=REGISTRY/app:latest"}, stall: asks("GET", "/app/blobs/"), gone: "scan", after: (*scene).pushIsRefused},
		{name: "push looks around", step: "push", args: push, stall: asks("HEAD", "/manifests/"), gone: "push", after: (*scene).noTagMoved},
		{name: "push sends a blob", step: "push", args: push, stall: asks("PUT", "/blobs/uploads/"), gone: "push", after: (*scene).noTagMoved},
		{name: "push sends the manifest", step: "push", args: push, stall: asks("PUT", "/manifests/sha256:"), gone: "push", after: (*scene).noTagMoved},
		{name: "push moves the last tag", step: "push", args: push, stall: asks("PUT", "/manifests/latest"), gone: "push", after: (*scene).firstTagIsWhole},
		{name: "prune looks around", step: "prune", args: prune, stall: asks("GET", "/tags/list"), after: (*scene).newestIsWhole},
		{name: "prune deletes", step: "prune", args: prune, stall: asks("DELETE", "/manifests/"), after: (*scene).newestIsWhole},
	}
}

func asks(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
}

// TestKilledInTheMiddle stops steps at known points, in order and by force. A
// step must end at once and leave nothing that runs or is mounted; what the
// steps before it made must be as it was; and the same step, run again, must
// succeed.
func TestKilledInTheMiddle(t *testing.T) {
	w := newWorld(t)
	for _, m := range moments() {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(m.name+", "+signal.String(), func(t *testing.T) {
				s := w.newScene(t)
				before := s.holdings()
				s.proxy.stall(m.stall)
				run := s.start(m.step, m.args...)
				s.awaitMiddle(m, run)
				below := descendants(run.cmd.Process.Pid)
				if m.step == "build" && len(below) == 0 {
					t.Error("no process of the builder was found: the test looks for the wrong thing")
				}
				check(t, run.cmd.Process.Signal(signal))
				run.await(t)
				checkEnd(t, run, signal)
				s.checkNothingRuns(below)
				delete(before, filepath.Join("record", m.gone+".json"))
				s.checkHoldings(m.step, before)
				s.proxy.stall(nil)
				m.after(s)
				if m.again == nil {
					m.again = m.args
				}
				s.must(m.step, m.again...)
			})
		}
	}
}

// awaitMiddle returns when the step is where the moment wants it.
func (s *scene) awaitMiddle(m moment, run *run) {
	s.t.Helper()
	var reached <-chan struct{} = run.stderr.has("begun\n")
	if m.stall != nil {
		reached = s.proxy.stalled
	}
	select {
	case <-reached:
	case <-run.ended:
		s.t.Fatalf("it ended before it was in the middle: %s\n%s", run.cmd.ProcessState, run.stderr)
	case <-time.After(endTimeout):
		s.t.Fatalf("it never came to the middle:\n%s", run.stderr)
	}
}

// checkEnd looks at how a program that got a signal in the middle went.
func checkEnd(t *testing.T, run *run, signal syscall.Signal) {
	t.Helper()
	status := run.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if signal == syscall.SIGKILL {
		if !status.Signaled() {
			t.Errorf("it ended with code %d before it was killed", status.ExitStatus())
		}
		return
	}
	lines := strings.Split(strings.TrimSpace(run.stderr.String()), "\n")
	want := "imagewright-" + run.step + ": stopped by terminated"
	if last := lines[len(lines)-1]; status.ExitStatus() != 143 || last != want {
		t.Errorf("after SIGTERM: %s, last line %q; want code 143 and %q", run.cmd.ProcessState, last, want)
	}
}

// TestKilledAtAnyMoment kills every step again and again, each time a little
// later, by turns in order and by force. Whenever it was, records and layout
// must be whole, the old ones or the new ones, and another run must succeed.
func TestKilledAtAnyMoment(t *testing.T) {
	const times = 6
	w := newWorld(t)
	for step, args := range map[string][]string{
		"build": nil, "scan": nil, "tag": nil,
		"push":  {"--images=REGISTRY/new-TURN"},
		"prune": {"apply", "--repositories=REGISTRY/old", "--keep-last=1", "--grace=0"},
	} {
		t.Run(step, func(t *testing.T) {
			s := w.newScene(t)
			s.must(step, s.turn(args)...) // with what it keeps for the next one
			begun := time.Now()
			s.must(step, s.turn(args)...)
			whole := time.Since(begun)
			for i := range times {
				signal := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i%2]
				s.killOnce(step, args, signal, whole*time.Duration(i+1)/times)
			}
			s.checkNothingRuns(nil)
			s.must(step, s.turn(args)...)
			if step == "build" {
				s.checkSwept()
			}
		})
	}
}

// killOnce starts a step, with something to do, until the signal ends it: after
// the given time, or a bit earlier whenever the step was faster than that.
func (s *scene) killOnce(step string, args []string, signal syscall.Signal, after time.Duration) {
	s.t.Helper()
	const tries = 12 // the last comes after a 24th of the time
	for range tries {
		args := s.turn(args)
		before := s.holdings()
		hit := s.start(step, args...).kill(s.t, signal, after)
		s.checkWhole(step, before)
		if hit {
			s.t.Logf("%v %v after its start", signal, after)
			return
		}
		after = after * 3 / 4
	}
	s.t.Errorf("%v never hit imagewright-%s while it ran, not even %v after its start", signal, step, after*4/3)
}

// turn gives a step something to do that it has not done before, and returns
// its arguments.
func (s *scene) turn(args []string) []string {
	s.t.Helper()
	s.turns++
	number := strconv.Itoa(s.turns)
	text := strings.Repeat(number+"\n", 1<<18)
	check(s.t, os.WriteFile(filepath.Join(s.dir, "changes.txt"), []byte(text), 0o644))
	s.addOldImage("v0.1." + number)
	var turned []string
	for _, arg := range args {
		turned = append(turned, strings.ReplaceAll(arg, "TURN", number))
	}
	return turned
}

// kill sends the signal after a while, or does nothing if the step was faster,
// and tells whether it was the signal that ended the step.
func (r *run) kill(t *testing.T, signal syscall.Signal, after time.Duration) bool {
	t.Helper()
	select {
	case <-time.After(after):
		if err := r.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	case <-r.ended:
	}
	r.await(t)
	status := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled(): // by SIGTERM too, before its first instruction
		return status.Signal() == signal
	case status.ExitStatus() == 143:
		return signal == syscall.SIGTERM
	case status.ExitStatus() != 0:
		t.Errorf("after %v and %v: %s\n%s", after, signal, r.cmd.ProcessState, r.stderr)
	}
	return false
}

// checkSwept looks whether a build that succeeded took away what killed ones
// had begun to write.
func (s *scene) checkSwept() {
	s.t.Helper()
	for name := range s.holdings() {
		if strings.HasPrefix(name, "image") && strings.HasPrefix(filepath.Base(name), durable.TempPrefix) {
			s.t.Errorf("%s of a killed build is still there", name)
		}
	}
}

// checkWhole holds the records to be what they were, but for the step's own,
// and the layout to hold all of the image that the record names.
func (s *scene) checkWhole(step string, before map[string]string) {
	s.t.Helper()
	after := s.holdings()
	for name, text := range before {
		own := filepath.Join("record", step+".json")
		if strings.HasPrefix(name, "record") && name != own && after[name] != text {
			s.t.Errorf("%s has changed; it was\n%s\nand is\n%s", name, text, after[name])
		}
	}
	workspace := filepath.Join(s.dir, ".imagewright")
	build, err := record.Read[record.Build](workspace, "build")
	check(s.t, err)
	_, errScan := record.Read[record.Scan](workspace, "scan")
	_, errTag := record.Read[record.Tag](workspace, "tag")
	_, errPush := record.Read[record.Push](workspace, "push")
	for _, err := range []error{errScan, errTag, errPush} {
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			s.t.Error(err)
		}
	}
	layout, err := image.OpenLayout(filepath.Join(workspace, "image"))
	check(s.t, err)
	digest, err := v1.NewHash(build.Image.Digest)
	check(s.t, err)
	if err := layout.Verify(s.t.Context(), digest); err != nil {
		s.t.Errorf("the recorded image: %v", err)
	}
}
