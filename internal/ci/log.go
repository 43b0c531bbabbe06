package ci

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// logEmitter is for systems that only keep a log, and for a terminal.
type logEmitter struct{ log io.Writer }

func newLogEmitter(log io.Writer) *logEmitter { return &logEmitter{log} }

func (l *logEmitter) Mask(string) {} // the step masks its own log; the system knows no command for it

func (l *logEmitter) Annotate(a Annotation) {
	place := ""
	if a.File != "" {
		place = Printable(a.File) + ":"
		if a.Line > 0 {
			place += fmt.Sprintf("%d:", a.Line)
		}
		place += " "
	}
	title := a.Title
	if title != "" {
		title += ": "
	}
	fmt.Fprintf(l.log, "%s%s: %s%s\n", place, a.Level, Printable(title), Printable(a.Message))
}

func (l *logEmitter) Group(title string) func() {
	fmt.Fprintf(l.log, "%s\n", Printable(title))
	return func() {}
}

func (l *logEmitter) Output(string, string) error { return nil }

func (l *logEmitter) Summary(string) (bool, error) { return false, nil }

func (l *logEmitter) Shield(w io.Writer) io.Writer { return w }

// minMaskedLine is the shortest line of a multi-line secret that is masked
// alone. A JSON key has lines of one brace; hiding those would shred the log
// and hide nothing.
const minMaskedLine = 4

// MaskParts returns what must be hidden so that no part of secret shows: the
// whole, without its final newline, and each line of it.
func MaskParts(secret string) []string {
	secret = strings.TrimRight(secret, "\r\n")
	if secret == "" {
		return nil
	}
	parts := []string{secret}
	if !strings.Contains(secret, "\n") {
		return parts
	}
	for line := range strings.Lines(secret) {
		if line = strings.TrimSpace(line); len(line) >= minMaskedLine {
			parts = append(parts, line)
		}
	}
	return parts
}

// Printable returns s in one line without control characters, terminal escapes
// or text-direction overrides, so that a hostile name cannot forge a line.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r) && r != ' ':
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// lineShield puts a dot before each line that begins, after white space, with
// one of commands. Lines may arrive in pieces: a start that may yet become a
// command is held until it can be told.
type lineShield struct {
	to       io.Writer
	commands []string
	inLine   bool // past the start of a line
	held     []byte
}

func (s *lineShield) Write(p []byte) (int, error) {
	data := append(s.held, p...)
	s.held = nil
	var out bytes.Buffer
	for len(data) > 0 {
		if !s.inLine {
			command, undecided := s.start(data)
			if undecided {
				s.held = bytes.Clone(data)
				break
			}
			if command {
				out.WriteString(". ")
			}
		}
		end := bytes.IndexAny(data, "\r\n") + 1
		if s.inLine = end == 0; s.inLine {
			end = len(data)
		}
		out.Write(data[:end])
		data = data[end:]
	}
	if _, err := s.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// start tells whether line begins with a command, or may once more of it is here.
func (s *lineShield) start(line []byte) (command, undecided bool) {
	rest := bytes.TrimLeft(line, " \t\v\f\u00a0")
	for _, c := range s.commands {
		if bytes.HasPrefix(rest, []byte(c)) {
			return true, false
		}
		undecided = undecided || strings.HasPrefix(c, string(rest))
	}
	return false, undecided
}
