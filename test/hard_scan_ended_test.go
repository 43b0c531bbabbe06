package test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/record"
)

// parserName is the argument list of the process that reads the image.
const parserName = "imagewright-scan-parser\x00"

// goneTimeout is how long that process may outlive the program that was killed.
const goneTimeout = time.Second

// phase is where a scan is stopped: the parser is held there, by SIGSTOP, so that
// the scan goes no further.
type phase struct {
	name  string
	known bool                      // results of layers are kept, so that they are only joined
	at    func(parser process) bool // tells that it is there
}

func phases() []phase {
	return []phase{
		{name: "the parser begins", at: func(process) bool { return true }},
		{name: "it reads a layer", at: func(p process) bool { return p.offset("/blobs/sha256/") >= 0 }},
		{name: "it looks into a large file", at: func(p process) bool { return p.offset("imagewright-scan-") > 0 }},
		{name: "it joins layers", known: true, at: func(p process) bool { return p.offset("/trivy.db") >= 0 }},
		{name: "it looks packages up", known: true, at: func(p process) bool { return p.ticks() > 20 }},
	}
}

// Wherever a scan is asked to end, it ends at once with 143 and leaves nothing;
// wherever it is killed, the process that reads the image goes with it. There is
// no verdict, and the next scan is as if nothing had been.
func TestAScanThatIsStoppedLeavesNothing(t *testing.T) {
	s := newHostileScan(t)
	s.layout("image", minimist(), packed(func(w *tar.Writer) error {
		if err := large(w, "usr/bin/large", 24<<20); err != nil {
			return err
		}
		for i := range 5000 {
			if err := addText(w, fmt.Sprintf("srv/%d/package.json", i), fmt.Sprintf(`{"name": "p%d", "version": "1.0.0"}`, i)); err != nil {
				return err
			}
		}
		return large(w, "srv/large.txt", 8<<20)
	}))
	for _, p := range phases() {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
			t.Run(p.name+", "+signal.String(), func(t *testing.T) {
				s.t = t
				s.forget(p.known)
				r := s.start("--source=image")
				parser := r.awaitParser(t, p)
				check(t, r.cmd.Process.Signal(signal))
				r.checkStopped(t, s, signal, parser)
				s.run(bounds{}, "--source=image").want(t, 3, "5001 packages")
			})
		}
	}
}

// Where the process that reads the image ends by itself, or for want of memory,
// the error says so, and there is no verdict.
func TestAScanWhoseParserEndsHasNoVerdict(t *testing.T) {
	s := newHostileScan(t)
	s.layout("image", minimist(), packed(func(w *tar.Writer) error { return large(w, "srv/large.txt", 32<<20) }))
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT} {
		t.Run(signal.String(), func(t *testing.T) {
			s.t = t
			s.forget(false)
			r := s.start("--source=image")
			parser := r.awaitParser(t, phase{at: func(process) bool { return true }})
			check(t, syscall.Kill(parser.id, signal))
			check(t, syscall.Kill(parser.id, syscall.SIGCONT))
			r.await(t)
			o := outcome{code: r.cmd.ProcessState.ExitCode(), stderr: r.stderr.String()}
			s.checkEnd(o)
			o.want(t, 1, "the process that reads the image")
		})
	}
	t.Run("out of memory", func(t *testing.T) {
		s := newHostileScan(t)
		s.layout("image", packed(func(w *tar.Writer) error {
			var errs []error
			for i := range 100_000 {
				errs = append(errs, addText(w, fmt.Sprintf("srv/%d/package.json", i), fmt.Sprintf(`{"name": "p%d", "version": "1.0.0"}`, i)))
			}
			return errors.Join(errs...)
		}))
		s.run(bounds{data: 128 << 20}, "--source=image").want(t, 1, "broke off: .*out of memory, of which it gets 128 MiB; an image made to break scanners")
	})
}

// large adds a file that hardly packs.
func large(w *tar.Writer, name string, size int64) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(w, io.MultiReader(strings.NewReader("\x7fELF"), io.LimitReader(newProse(), size-4)))
	return err
}

// forget removes what is kept, all of it or that of images.
func (s *hostileScan) forget(layersStay bool) {
	s.t.Helper()
	check(s.t, os.RemoveAll(s.path(".imagewright")))
	if !layersStay {
		check(s.t, os.RemoveAll(filepath.Join(s.cache, "results")))
		return
	}
	images, err := filepath.Glob(filepath.Join(s.cache, "results", "images-*"))
	check(s.t, err)
	for _, dir := range images {
		check(s.t, os.RemoveAll(dir))
	}
}

// start starts a scan whose results nobody reads yet.
func (s *hostileScan) start(args ...string) *run {
	s.t.Helper()
	r := &run{cmd: s.command(0, args...), step: "scan", stderr: &watchedBuffer{}, ended: make(chan struct{})}
	r.cmd.Stderr = r.stderr
	check(s.t, r.cmd.Start())
	go func() {
		_ = r.cmd.Wait() // its state is looked at
		close(r.ended)
	}()
	s.t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // an error: it has ended
		<-r.ended
	})
	return r
}

// awaitParser returns the process that reads the image, held in a phase.
func (r *run) awaitParser(t *testing.T, p phase) process {
	t.Helper()
	for deadline := time.Now().Add(endTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, child := range descendants(r.cmd.Process.Pid) {
			if child.arguments == parserName && p.at(child) {
				check(t, syscall.Kill(child.id, syscall.SIGSTOP))
				return child
			}
		}
		select {
		case <-r.ended:
			t.Fatalf("it ended before it was there: %s\n%s", r.cmd.ProcessState, r.stderr)
		default:
		}
	}
	t.Fatalf("it never was there:\n%s", r.stderr)
	return process{}
}

// checkStopped holds a scan that got a signal to its end.
func (r *run) checkStopped(t *testing.T, s *hostileScan, signal syscall.Signal, parser process) {
	t.Helper()
	begun := time.Now()
	select {
	case <-r.ended:
	case <-time.After(endTimeout):
		t.Fatalf("it does not end after %v:\n%s", signal, r.stderr)
	}
	took := time.Since(begun)
	for alive(parser.id) {
		if time.Since(begun) > took+goneTimeout {
			t.Fatalf("the process that reads the image outlives it by %v", time.Since(begun)-took)
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := record.Read[record.Scan](s.path(".imagewright"), "scan"); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("there is a verdict: %v", err)
	}
	status := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if signal == syscall.SIGKILL {
		if !status.Signaled() {
			t.Errorf("it ended with code %d before it was killed", status.ExitStatus())
		}
		s.sweepTemp() // nobody was left to do it
		return
	}
	want := "imagewright-scan: stopped by " + signal.String()
	if last := lastLine(r.stderr.String()); status.ExitStatus() != 128+int(signal) || last != want {
		t.Errorf("%s, last line %q; want code %d and %q", r.cmd.ProcessState, last, 128+int(signal), want)
	}
	s.checkNothingLeft()
}

// sweepTemp removes what a killed program left, which is a scratch directory
// without files at most.
func (s *hostileScan) sweepTemp() {
	s.t.Helper()
	check(s.t, filepath.WalkDir(s.temp, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			s.t.Errorf("a killed scan left %s", path)
		}
		return err
	}))
	check(s.t, errors.Join(os.RemoveAll(s.temp), os.Mkdir(s.temp, 0o755)))
}

// alive tells whether a process still is there, and no zombie.
func alive(id int) bool {
	_, state, _ := strings.Cut(process{id: id}.read("stat"), ") ")
	return state != "" && state[0] != 'Z'
}

// offset is how far the process has read in a file whose path has this in it, -1
// if it has none open.
func (p process) offset(path string) int64 {
	dir := fmt.Sprintf("/proc/%d/", p.id)
	open, _ := os.ReadDir(dir + "fd") // an error: it is gone
	for _, fd := range open {
		if to, _ := os.Readlink(dir + "fd/" + fd.Name()); strings.Contains(to, path) {
			var at int64
			_, _ = fmt.Sscanf(p.read("fdinfo/"+fd.Name()), "pos: %d", &at) // the first line
			return at
		}
	}
	return -1
}

// ticks is the time that the process has computed, in hundredths of a second.
func (p process) ticks() int {
	_, after, _ := strings.Cut(p.read("stat"), ") ")
	var user, system int
	if fields := strings.Fields(after); len(fields) > 12 {
		_, _ = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	}
	return user + system
}
