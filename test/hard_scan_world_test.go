package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/database"
)

// hostileScan is a checkout with a cache that has the vulnerability database,
// in which the built scanner meets what is made to break it.
type hostileScan struct {
	t                      *testing.T
	dir, cache, temp, home string
}

// outcome is how a scan ended.
type outcome struct {
	code           int
	stdout, stderr string
	wall           time.Duration
	peak           int64 // memory of the parser and of the program, each at its highest, together, bytes
}

// bounds of a scan: what it is given, and what it may take.
type bounds struct {
	data     int64         // RLIMIT_DATA, of each process, bytes; 0: none but its own
	memory   int64         // peak of all, bytes; 0: 512 MiB
	deadline time.Duration // 0: a minute
}

const (
	defaultHostileMemory   = 512 << 20
	defaultHostileDeadline = time.Minute
)

func newHostileScan(t *testing.T) *hostileScan {
	t.Helper()
	root := t.TempDir()
	s := &hostileScan{t: t, dir: filepath.Join(root, "checkout"), cache: filepath.Join(root, "cache"), temp: filepath.Join(root, "temp"), home: filepath.Join(root, "home")}
	for _, dir := range []string{s.dir, s.temp, s.home} {
		check(t, os.MkdirAll(dir, 0o755))
	}
	check(t, database.Write(filepath.Join(s.cache, "db"), database.Options{}))
	return s
}

// path is one in the checkout.
func (s *hostileScan) path(name string) string { return filepath.Join(s.dir, name) }

// command is the scanner, with nothing of our environment but PATH.
func (s *hostileScan) command(limit int64, args ...string) *exec.Cmd {
	program, err := filepath.Abs(filepath.Join(bin(), "imagewright-scan"))
	check(s.t, err)
	args = append([]string{program, "--cache-dir=" + s.cache, "--skip-db-update", "--skip-java-db-update"}, args...)
	if limit > 0 {
		args = append([]string{"sh", "-c", `ulimit -d "$0" && exec "$@"`, strconv.FormatInt(limit>>10, 10)}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "TMPDIR=" + s.temp}
	return cmd
}

// run scans, within bounds, to the end, and holds the scan to what always holds.
func (s *hostileScan) run(b bounds, args ...string) outcome {
	s.t.Helper()
	if b.memory == 0 {
		b.memory = defaultHostileMemory
	}
	if b.deadline == 0 {
		b.deadline = defaultHostileDeadline
	}
	cmd := s.command(b.data, args...)
	if b.data > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", b.data/2))
	}
	o := s.await(cmd, b.deadline)
	s.t.Logf("code %d after %v, at most %d MiB: %.300q", o.code, o.wall.Round(time.Millisecond), o.peak>>20, lastLine(o.stderr))
	if o.peak > b.memory {
		s.t.Errorf("it took %d MiB; want at most %d", o.peak>>20, b.memory>>20)
	}
	s.checkEnd(o)
	return o
}

// await runs a command and watches what it takes.
func (s *hostileScan) await(cmd *exec.Cmd, deadline time.Duration) outcome {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begun := time.Now()
	check(s.t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its state is looked at
		close(ended)
	}()
	peaks := map[int]int64{}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(deadline)
	for {
		notePeaks(cmd.Process.Pid, peaks)
		select {
		case <-ended:
			o := outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), wall: time.Since(begun)}
			for _, peak := range peaks {
				o.peak += peak
			}
			return o
		case <-timeout:
			_ = cmd.Process.Kill() // an error: it has ended
			<-ended
			s.t.Fatalf("it does not end within %v:\n%s", deadline, stderr.String())
		case <-tick.C:
		}
	}
}

// notePeaks notes the most memory that a process, and those below it, ever had.
func notePeaks(id int, peaks map[int]int64) {
	for _, p := range append(descendants(id), process{id: id}) {
		status := p.read("status")
		_, after, ok := strings.Cut(status, "VmHWM:")
		if !ok {
			continue // gone
		}
		if kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64); err == nil {
			peaks[p.id] = max(peaks[p.id], kib<<10)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// checkEnd holds a scan that ended, whatever it met, to what always holds: a
// sentence in place of a stack, no verdict unless everything was read, and
// nothing left behind.
func (s *hostileScan) checkEnd(o outcome) {
	s.t.Helper()
	for _, bad := range []string{"goroutine ", "runtime error", "this is a bug", "panic"} {
		if strings.Contains(o.stderr, bad) {
			s.t.Errorf("it says %q:\n%.4000s", bad, o.stderr)
		}
	}
	_, err := record.Read[record.Scan](s.path(".imagewright"), "scan")
	switch {
	case o.code == 0 || o.code == 3:
		check(s.t, err)
	case o.code != 1 && o.code != 2:
		s.t.Errorf("it ended with code %d:\n%s", o.code, o.stderr)
	case !errors.Is(err, record.ErrNotFound):
		s.t.Errorf("it ended with code %d, and left a verdict: %v", o.code, err)
	case !strings.HasPrefix(lastLine(o.stderr), "imagewright-scan: "):
		s.t.Errorf("its last line is no sentence: %q", lastLine(o.stderr))
	}
	s.checkNothingLeft()
}

func (s *hostileScan) checkNothingLeft() {
	s.t.Helper()
	left, err := os.ReadDir(s.temp)
	check(s.t, err)
	if len(left) > 0 {
		s.t.Errorf("left in TMPDIR: %v", left)
	}
}

// want holds an outcome to a code and to what the last line on stderr, or the
// table where there is a verdict, says.
func (o outcome) want(t *testing.T, code int, text string) {
	t.Helper()
	said := lastLine(o.stderr)
	if code == 0 || code == 3 {
		said = o.stdout
	}
	if o.code != code || !regexp.MustCompile(text).MatchString(said) {
		t.Errorf("code %d, %.2000q; want %d and %q\n%.2000s", o.code, said, code, text, o.stderr)
	}
}
