package scan

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// harmless passes a JSON document on like withoutCommands. What may be the
// beginning of something waits for what follows; a document ends otherwise.
type harmless struct {
	to   io.Writer
	held []byte
}

// Write implements io.Writer.
func (h *harmless) Write(p []byte) (int, error) {
	text := p
	if len(h.held) > 0 {
		text = slices.Concat(h.held, p)
	}
	end := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if last := text[len(text)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				end -= i
			}
			break
		}
	}
	for n := 0; n < len("##") && end > 0 && text[end-1] == '#'; n++ {
		end--
	}
	if _, err := h.to.Write(withoutCommands(text[:end])); err != nil {
		return 0, err
	}
	h.held = slices.Clone(text[end:])
	return len(p), nil
}

// withoutCommands returns a JSON document that says in another way what would do
// something where it is printed: "##[" is a command to GitHub's runner wherever it
// stands in a line, and what does not print moves a terminal's cursor, or turns
// text round. All of that is inside strings only.
func withoutCommands(document []byte) []byte {
	if bytes.Contains(document, []byte("##[")) {
		document = bytes.ReplaceAll(document, []byte("##["), []byte(`\u0023#[`))
	}
	var b []byte
	for {
		i := bytes.IndexFunc(document, func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) })
		if i < 0 {
			break
		}
		r, size := utf8.DecodeRune(document[i:])
		b = append(b, document[:i]...)
		for _, unit := range utf16.AppendRune(nil, r) {
			b = fmt.Appendf(b, `\u%04x`, unit)
		}
		document = document[i+size:]
	}
	if b == nil {
		return document
	}
	return append(b, document...)
}
