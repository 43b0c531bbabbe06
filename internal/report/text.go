package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain makes s fit to print on one line of a terminal or a CI log: line breaks
// become spaces, what does not print (escape sequences, direction overrides,
// invalid UTF-8) becomes visible as \u001b or \xff, and the "##[" that makes
// GitHub's runner read a command anywhere in a line is broken up.
func Plain(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\r' || r == '\t' || r == ' ':
			b.WriteByte(' ')
		case !unicode.IsPrint(r): // control and format characters, all spaces but U+0020
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	// github.com/actions/runner, ActionCommand.TryParse: IndexOf("##[").
	return strings.ReplaceAll(b.String(), "##[", "## [")
}

// cut shortens s to at most n runes; "…" says so.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return strings.TrimRight(string(runes[:n-1]), " ") + "…"
}

// markdownSpecial is every ASCII character with a meaning in GitHub's Markdown
// (inline, in tables, in autolinks), spelt so that it is only itself.
var markdownSpecial = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `|`, `\|`, `~`, `\~`, `#`, `\#`, `!`, `\!`, `$`, `\$`,
	`<`, `&lt;`, `>`, `&gt;`, `&`, `&amp;`,
	`@`, `&#64;`, // no mention, no mail address
	`://`, `&#58;//`, `www.`, `www&#46;`, // no link that the text makes by itself
)

// Markdown makes s fit for a line or a table's cell of Markdown: it is only
// text there, no markup, no HTML, no link.
func Markdown(s string) string { return markdownSpecial.Replace(Plain(s)) }
