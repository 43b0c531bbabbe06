package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
)

const (
	tailLines    = 20       // of a failed step's output, in the report of the failure
	maxTailBytes = 2 << 10  // of each of those lines
	maxHeldBytes = 64 << 10 // of a line that does not end; then it is cut
)

// watcher sees all that a build says on its way to the display. It makes the
// text harmless, hides secrets, which a RUN may well print, and keeps what the
// report of a failure needs.
type watcher struct {
	secrets  *strings.Replacer
	longest  int // bytes of the longest of them
	vertices map[digest.Digest]*vertex
}

// vertex is a step of the build as it was last heard of.
type vertex struct {
	name   string
	cached bool
	tail   []string
	errors []bool         // which lines of tail came from standard error
	held   map[int]string // by stream: the line that has not ended
}

func newWatcher(secrets map[string][]byte) *watcher {
	var parts []string
	for _, secret := range secrets {
		parts = append(parts, ci.MaskParts(string(secret))...)
	}
	// Longest first: a secret that begins another one would leave its end behind.
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	w := &watcher{vertices: map[digest.Digest]*vertex{}}
	var pairs []string
	for _, part := range parts {
		w.longest = max(w.longest, len(part))
		pairs = append(pairs, part, "***")
	}
	w.secrets = strings.NewReplacer(pairs...)
	return w
}

// watch shows the build on display until statuses ends. It always reads to the
// end: BuildKit's client blocks otherwise.
func (w *watcher) watch(ctx context.Context, display progressui.Display, statuses <-chan *client.SolveStatus) {
	shown := make(chan *client.SolveStatus)
	go func() {
		defer close(shown)
		for s := range statuses {
			shown <- w.observe(s)
		}
		shown <- w.flush()
	}()
	// A cancelled build still says how its steps ended.
	display.UpdateFrom(context.WithoutCancel(ctx), shown) //nolint:errcheck // its only error is a cancelled context
}

// observe returns s as it may be shown.
func (w *watcher) observe(s *client.SolveStatus) *client.SolveStatus {
	clean := &client.SolveStatus{}
	ended := map[digest.Digest]bool{}
	for _, v := range s.Vertexes {
		shown := *v
		shown.Name, shown.Error = w.line(v.Name), w.line(v.Error)
		if group := v.ProgressGroup; group != nil { // its name is shown in place of the step's
			shown.ProgressGroup = &pb.ProgressGroup{Id: group.Id, Name: w.line(group.Name), Weak: group.Weak}
		}
		known := w.vertex(v.Digest)
		known.name = shown.Name
		// Fetching a layer that was found in a cache is an event of its own.
		known.cached = known.cached || v.Cached
		ended[v.Digest] = v.Completed != nil
		clean.Vertexes = append(clean.Vertexes, &shown)
	}
	for _, v := range s.Statuses {
		shown := *v
		shown.ID, shown.Name = w.line(v.ID), w.line(v.Name)
		clean.Statuses = append(clean.Statuses, &shown)
	}
	for _, v := range s.Warnings {
		shown := *v
		shown.Short = []byte(w.line(string(v.Short)))
		clean.Warnings = append(clean.Warnings, &shown)
	}
	for _, l := range s.Logs {
		w.take(clean, l)
	}
	for digest, done := range ended {
		if done {
			w.release(clean, digest)
		}
	}
	return clean
}

func (w *watcher) vertex(d digest.Digest) *vertex {
	v := w.vertices[d]
	if v == nil {
		v = &vertex{held: map[int]string{}}
		w.vertices[d] = v
	}
	return v
}

// take adds the whole lines of l to clean and holds the rest: a secret must not
// slip through in two halves.
func (w *watcher) take(clean *client.SolveStatus, l *client.VertexLog) {
	v := w.vertex(l.Vertex)
	text := v.held[l.Stream] + string(l.Data)
	for {
		line, rest, ended := strings.Cut(text, "\n")
		if !ended && len(text) <= maxHeldBytes+w.longest {
			break
		}
		if !ended { // what may be a secret's beginning stays
			line = w.secrets.Replace(text)
			at := max(0, len(line)-w.longest)
			line, rest = line[:at], line[at:]
		}
		w.say(clean, l.Vertex, l.Stream, l.Timestamp, line)
		text = rest
	}
	v.held[l.Stream] = text
}

// release says what vertex d left without a line break.
func (w *watcher) release(clean *client.SolveStatus, d digest.Digest) {
	v := w.vertex(d)
	for stream, text := range v.held {
		if text != "" {
			w.say(clean, d, stream, time.Now(), text)
		}
		delete(v.held, stream)
	}
}

func (w *watcher) flush() *client.SolveStatus {
	clean := &client.SolveStatus{}
	for d := range w.vertices {
		w.release(clean, d)
	}
	return clean
}

func (w *watcher) say(clean *client.SolveStatus, d digest.Digest, stream int, at time.Time, line string) {
	line = strings.TrimRight(line, "\r")
	line = line[strings.LastIndexByte(line, '\r')+1:] // a progress bar: what a terminal would show in the end
	line = w.line(line)
	w.vertex(d).keep(beginning(line), stream)
	clean.Logs = append(clean.Logs, &client.VertexLog{Vertex: d, Stream: stream, Timestamp: at, Data: []byte(line + "\n")})
}

// keep adds a line to the end of what is shown of a step that fails. The two
// streams of a step come in any order, so what it said on standard error must not
// be pushed out by what it said before on standard output.
func (v *vertex) keep(line string, stream int) {
	const stderr = 2
	v.tail, v.errors = append(v.tail, line), append(v.errors, stream == stderr)
	if len(v.tail) <= tailLines {
		return
	}
	drop := slices.Index(v.errors, false)
	if drop < 0 || drop > tailLines/2 { // the newest stay, whatever they are
		drop = 0
	}
	v.tail, v.errors = slices.Delete(v.tail, drop, drop+1), slices.Delete(v.errors, drop, drop+1)
}

// beginning is what a failure's report shows of a line.
func beginning(line string) string {
	if len(line) <= maxTailBytes {
		return line
	}
	return strings.ToValidUTF8(line[:maxTailBytes], "") + "…"
}

// escapes are terminal control sequences: CSI, OSC and the two-byte ones.
// https://ecma-international.org/publications-and-standards/standards/ecma-48/
var escapes = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])`)

// line makes text one harmless line without secrets. Colours are dropped; what
// else does not print becomes visible.
func (w *watcher) line(text string) string {
	return ci.Printable(w.secrets.Replace(escapes.ReplaceAllString(text, "")))
}

// tail returns the last lines of what the step with digest d printed.
func (w *watcher) tail(d digest.Digest) []string {
	if v := w.vertices[d]; v != nil {
		return v.tail
	}
	return nil
}

// numbered matches the names of instructions: [2/3] RUN …, [stage 2/3] COPY …
var numbered = regexp.MustCompile(`^\[[^\]]*\d+/\d+\] `)

// steps counts the Dockerfile's instructions that were built, and those of them
// that came from the cache.
func (w *watcher) steps() (all, cached int) {
	for _, v := range w.vertices {
		if !numbered.MatchString(v.name) {
			continue
		}
		all++
		if v.cached {
			cached++
		}
	}
	return all, cached
}

// newDisplay returns a display on log. terminal is the file behind it, if any.
func newDisplay(mode string, log io.Writer, terminal *os.File) (progressui.Display, error) {
	if terminal != nil && (mode == "auto" || mode == "tty") {
		display, err := progressui.NewDisplay(onTerminal{terminal, log}, progressui.TtyMode)
		if err == nil || mode == "tty" {
			return display, usage(err)
		}
		mode = "plain" // a file, but no terminal
	}
	if mode == "tty" {
		return progressui.Display{}, usage(errors.New("standard error is no terminal"))
	}
	if mode == "auto" || mode == "plain" {
		log = &stepLines{to: log}
	}
	return progressui.NewDisplay(log, progressui.DisplayMode(mode))
}

func usage(err error) error {
	if err == nil {
		return nil
	}
	return fault.Usage(fmt.Errorf("input progress: tty: %w", err), "use auto or plain")
}

// onTerminal is a terminal whose text takes the way of the log.
type onTerminal struct {
	*os.File
	log io.Writer
}

// Write implements io.Writer.
func (t onTerminal) Write(p []byte) (int, error) { return t.log.Write(p) }

// stepLines passes on the lines of BuildKit's plain display, which all begin
// with the step's number, and drops its closing list of failed steps' output:
// the report of the failure follows, and says it better.
type stepLines struct {
	to   io.Writer
	held []byte
}

// Write implements io.Writer.
func (s *stepLines) Write(p []byte) (int, error) {
	s.held = append(s.held, p...)
	for {
		end := bytes.IndexByte(s.held, '\n') + 1
		if end == 0 {
			return len(p), nil
		}
		line := s.held[:end]
		s.held = s.held[end:]
		if line[0] != '#' && end > 1 {
			continue
		}
		if _, err := s.to.Write(line); err != nil {
			return 0, err
		}
	}
}
