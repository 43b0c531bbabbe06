package report

import (
	"strings"
	"unicode/utf8"

	"github.com/imagewright/imagewright/internal/ci"
)

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
func Markdown(s string) string { return markdownSpecial.Replace(ci.Printable(s)) }
