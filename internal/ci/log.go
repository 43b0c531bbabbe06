package ci

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// logEmitter is for systems that only keep a log, and for a terminal.
type logEmitter struct{ log io.Writer }

func newLogEmitter(log io.Writer) *logEmitter { return &logEmitter{log} }

// Mask implements Emitter.
func (l *logEmitter) Mask(string) {} // the step masks its own log; the system knows no command for it

// Annotate implements Emitter.
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

// Group implements Emitter.
func (l *logEmitter) Group(title string) func() {
	fmt.Fprintf(l.log, "%s\n", Printable(title))
	return func() {}
}

// Output implements Emitter.
func (l *logEmitter) Output(string, string) error { return nil }

// Summary implements Emitter.
func (l *logEmitter) Summary(string) (bool, error) { return false, nil }

// Shield implements Emitter.
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

// Printable makes s fit to stand in a line of a terminal or a log: line breaks
// become spaces; what does not print (control characters, terminal escapes,
// text-direction overrides, invalid UTF-8) becomes visible as \u001b or \xff. Nor
// can it be a command of GitHub's older form, which counts anywhere in a line;
// the new form counts at the line's start, so s must not stand there.
func Printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case !unicode.IsPrint(r): // control and format characters, all spaces but U+0020
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return strings.ReplaceAll(b.String(), oldCommand, brokenCommand)
}

// GitHub's runner takes the new form of a command at a line's start, after
// white space, and the old one anywhere in it.
// https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
const (
	newCommand    = "::"
	oldCommand    = "##["
	brokenCommand = "## ["
)

// shield breaks both forms of a command in what is written through it: the new
// one with a dot before it, the old one with a space inside. Text may arrive in
// pieces: what may yet become a command is held until it can be told.
type shield struct {
	to     io.Writer
	inLine bool // past the white space at the start of a line
	held   []byte
}

// Write implements io.Writer.
func (s *shield) Write(p []byte) (int, error) {
	data := append(s.held, p...)
	s.held = nil
	var out bytes.Buffer
	for i := 0; i < len(data); {
		rest := data[i:]
		switch {
		case !s.inLine && bytes.HasPrefix(rest, []byte(newCommand)):
			out.WriteString(". " + newCommand)
			i += len(newCommand)
			s.inLine = true
		case bytes.HasPrefix(rest, []byte(oldCommand)):
			out.WriteString(brokenCommand)
			i += len(oldCommand)
		case !s.inLine && begins(newCommand, rest), begins(oldCommand, rest), !utf8.FullRune(rest):
			s.held = bytes.Clone(rest)
			i = len(data)
		default:
			r, size := utf8.DecodeRune(rest)
			s.inLine = r != '\n' && r != '\r' && (s.inLine || !unicode.IsSpace(r))
			out.Write(rest[:size])
			i += size
		}
	}
	if _, err := s.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begins tells whether all of text is the beginning of a command.
func begins(command string, text []byte) bool {
	return len(text) < len(command) && strings.HasPrefix(command, string(text))
}
