package analysis

import (
	"iter"
	"regexp"
	"strings"
)

// maxLabel bounds a label's value (bytes) once its variables are in place. A
// component's name and an architecture are a word each.
const maxLabel = 4 << 10

// redHatLabels returns what the labels of a Dockerfile call the image and its
// architecture; the last ones count, whatever the stage. A Dockerfile that is
// not as plain as Red Hat's build system writes it gives empty ones.
//
// BuildKit's parser would do, but a scanner of images that links a builder has
// more to go wrong than this.
func redHatLabels(dockerfile string) (component, arch string) {
	variables := map[string]string{} // as they stand in the file, quotes and all; so Trivy takes them
	w := words{escape: '\\'}
	if directive := regexp.MustCompile(`(?i)^\s*#\s*escape\s*=\s*` + "`"); directive.MatchString(dockerfile) {
		w.escape = '`'
	}
	inStage := false
	for instruction, arguments := range w.instructions(dockerfile) {
		switch {
		case instruction == "FROM":
			inStage = true
		case instruction == "ENV" || instruction == "ARG" && !inStage:
			for name, value := range w.pairs(arguments) {
				variables[name] = value
			}
		case instruction == "LABEL":
			for name, value := range w.pairs(arguments) {
				name, ok := w.expand(name, variables)
				switch strings.ToLower(name) {
				case "com.redhat.component", "bzcomponent":
					component, ok = w.expand(value, variables)
				case "architecture":
					arch, ok = w.expand(value, variables)
				}
				if !ok {
					return "", ""
				}
			}
		}
	}
	return component, arch
}

// words takes a Dockerfile's lines apart.
type words struct{ escape byte }

// instructions yields each instruction's name, in capitals, and what follows it.
// https://docs.docker.com/reference/dockerfile/#format
func (w words) instructions(text string) iter.Seq2[string, string] {
	heredoc := regexp.MustCompile(`<<-?\s*["']?([A-Za-z_][A-Za-z0-9_]*)`)
	return func(yield func(string, string) bool) {
		var joined strings.Builder
		ends := "" // of the here-document being skipped
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, " \t\r\n")
			plain := strings.TrimLeft(line, " \t")
			if ends != "" {
				if plain == ends {
					ends = ""
				}
				continue
			}
			if plain == "" || plain[0] == '#' {
				continue // between continued lines, too
			}
			if line[len(line)-1] == w.escape {
				joined.WriteString(line[:len(line)-1])
				continue
			}
			joined.WriteString(line)
			instruction := strings.TrimSpace(joined.String())
			joined.Reset()
			name, arguments := instruction, ""
			if end := strings.IndexAny(instruction, " \t"); end >= 0 {
				name, arguments = instruction[:end], strings.TrimSpace(instruction[end:])
			}
			name = strings.ToUpper(name)
			if m := heredoc.FindStringSubmatch(arguments); m != nil && (name == "RUN" || name == "COPY" || name == "ADD") {
				ends = m[1]
			}
			if !yield(name, arguments) {
				return
			}
		}
	}
}

// pairs yields "name=value name=value", or the one pair of the old form "name
// value", with quotes and variables left in.
func (w words) pairs(arguments string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for first := true; arguments != ""; first = false {
			end := w.wordEnd(arguments)
			name, value, ok := strings.Cut(arguments[:end], "=")
			arguments = strings.TrimSpace(arguments[end:])
			if !ok && first {
				yield(name, arguments)
				return
			}
			if ok && !yield(name, value) {
				return
			}
		}
	}
}

// wordEnd returns where the first word of s ends.
func (w words) wordEnd(s string) int {
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == w.escape:
			i++
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '"' || b == '\'':
			quote = b
		case b == ' ' || b == '\t':
			return i
		}
	}
	return len(s)
}

// expand takes quotes off and puts variables in. It reports false for what is
// too long or takes more than a variable's name: ${name:-default} and the like.
func (w words) expand(word string, variables map[string]string) (string, bool) {
	var out strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		switch b := word[i]; {
		case b == quote:
			quote = 0
		case quote == '\'':
			out.WriteByte(b)
		case quote == 0 && (b == '"' || b == '\''):
			quote = b
		case b == w.escape && i+1 < len(word):
			i++
			if quote == '"' && word[i] != '"' && word[i] != '$' && word[i] != w.escape {
				out.WriteByte(b)
			}
			out.WriteByte(word[i])
		case b == '$':
			name, length, ok := variable(word[i:])
			if !ok {
				return "", false
			}
			out.WriteString(variables[name])
			i += length - 1
		default:
			out.WriteByte(b)
		}
		if out.Len() > maxLabel {
			return "", false
		}
	}
	return out.String(), true
}

// variable reads $name or ${name} at the start of s, and says how long it is.
func variable(s string) (name string, length int, ok bool) {
	start := 1
	if strings.HasPrefix(s, "${") {
		start = 2
	}
	end := start
	for end < len(s) && (s[end] == '_' || s[end] >= '0' && s[end] <= '9' || s[end] >= 'A' && s[end] <= 'Z' || s[end] >= 'a' && s[end] <= 'z') {
		end++
	}
	switch {
	case end == start:
		return "", 0, false
	case start == 1:
		return s[start:end], end, true
	case end < len(s) && s[end] == '}':
		return s[start:end], end + 1, true
	}
	return "", 0, false
}
