package parser

import (
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
)

// deathTimeout is how long a process that has closed its descriptors may take to
// be gone.
const deathTimeout = 2 * time.Second

// gone says why a parser gave no answer.
func (p *Process) gone(err error) error {
	select {
	case <-p.exited:
	case <-time.After(deathTimeout):
		return fmt.Errorf("the process that reads the image: %w", err)
	}
	why, hint := p.reason()
	return fault.Failed(fmt.Errorf("no verdict: the process that reads the image broke off: %s", why), hint)
}

// reason says why a parser that is gone broke off, and what that may come from.
func (p *Process) reason() (why, hint string) {
	line := p.words.reason()
	switch {
	case sandbox.OutOfMemory(line):
		return fmt.Sprintf("out of memory, of which it gets %d MiB", p.bounds.MaxMemory>>20),
			"an image made to break scanners, or one that needs more memory than a scanner gets; please report it if it is neither"
	case strings.Contains(line, "stack overflow"):
		return "something in what it reads is inside itself, or far deeper than anything is",
			"an image made to break scanners, or a damaged database: remove that, so that it is fetched again"
	case runtimeFault(line):
		return fmt.Sprintf("%s, as it comes of being out of memory, of which it gets %d MiB", line, p.bounds.MaxMemory>>20),
			"an image made to break scanners, or one that needs more memory than a scanner gets; please report it if it is neither"
	case p.computedTooLong():
		return fmt.Sprintf("out of processor time, of which it gets %s on all processors together", p.bounds.MaxCPU),
			"an image made to break scanners, or one that needs a longer timeout; 0 is no limit"
	case line == "" && p.death != nil:
		line = p.death.Error()
	}
	return cmp.Or(line, "nobody knows why"), "an image made to break scanners, or a machine without memory; please report it if it is neither"
}

// runtimeFault reports whether a last word is of Go's own runtime. Its collector
// uses some allocations without a look at whether they succeeded. In Go code a
// fault would be a panic, which is an answer.
func runtimeFault(line string) bool {
	return strings.HasPrefix(line, "SIGSEGV") || strings.Contains(line, "unexpected signal during runtime execution")
}

// computedTooLong reports whether MaxCPU ended the parser: the kernel tells no
// more than that it was killed. That limit counts ticks of the clock, while what
// was used is exact, so the two differ by some percent.
func (p *Process) computedTooLong() bool {
	ended, ok := errors.AsType[*exec.ExitError](p.death)
	if !ok || p.bounds.MaxCPU == 0 {
		return false
	}
	how, ok := ended.Sys().(syscall.WaitStatus)
	killed := ok && how.Signaled() && (how.Signal() == syscall.SIGKILL || how.Signal() == syscall.SIGXCPU)
	return killed && ended.UserTime()+ended.SystemTime() >= p.bounds.MaxCPU/10*9
}

// lastWords keeps the beginning of what a process says when it dies.
type lastWords struct {
	mu   sync.Mutex
	text strings.Builder
}

// maxWords bounds it, bytes: the reason comes first, the stacks of all
// goroutines follow.
const maxWords = 4 << 10

// Write implements io.Writer.
func (w *lastWords) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b[:min(len(b), maxWords-w.text.Len())])
	return len(b), nil
}

// reason returns the line that says why, which may quote the image.
func (w *lastWords) reason() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(w.text.String()) {
		line = strings.TrimSpace(line)
		for _, start := range []string{"panic: ", "fatal error: ", "SIG", "imagewright-scan: "} {
			if strings.HasPrefix(line, start) {
				return ci.Printable(line)
			}
		}
	}
	return ""
}
