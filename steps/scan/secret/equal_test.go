package secret

import (
	"bytes"
	"math/rand/v2"
	"regexp/syntax"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const stride = bufferSize - overlap

// Every rule's secret is put at every distance that matters from where chunks
// begin and end: one rule at each border of a long file.
func TestNoBorderOfAChunkChangesWhatIsFound(t *testing.T) {
	trivys, ours := newJudge(t, ""), newScanner(t, "")
	for _, border := range []struct {
		name string
		at   int // in the chunk whose number is the rule's
	}{{"begin", 0}, {"end", bufferSize}, {"of the overlap", stride}} {
		for _, shift := range []struct {
			name string
			by   func(length int) int // from the border to the secret's first byte
		}{
			{"first byte behind", func(int) int { return 0 }},
			{"one byte before", func(int) int { return -1 }},
			{"half before", func(n int) int { return -n / 2 }},
			{"all but a byte before", func(n int) int { return 1 - n }},
			{"all before", func(n int) int { return -n }},
		} {
			t.Run(border.name+", "+shift.name, func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(1, 2))
				rules := ours.rules.Rules
				data := bytes.Repeat([]byte(strings.Repeat("~", 59)+"\n"), (len(rules)+2)*stride/60)
				for i := range rules {
					secret := secretOf(t, &rules[i], r)
					copy(data[(i+1)*stride+border.at+shift.by(len(secret)):], secret)
				}
				const path = "root/settings.xml"
				want := trivys.scan(t, path, data)
				if len(want) < len(rules)/2 {
					t.Errorf("only %d findings: the examples are no good", len(want))
				}
				if diff := difference(want, scan(t, ours, path, data)); diff != "" {
					t.Errorf("findings (-Trivy +ours):\n%s", diff)
				}
			})
		}
	}
}

// pieces generates text that is hard to scan.
func pieces(t testing.TB, rules []rule) *rapid.Generator[string] {
	trees := make([]*syntax.Regexp, len(rules))
	for i := range rules {
		var err error
		if trees[i], err = syntax.Parse(rules[i].Regex.text, syntax.Perl); err != nil {
			t.Fatal(err)
		}
	}
	run := func(alphabet string) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			text := make([]byte, rapid.IntRange(1, 120).Draw(t, "length"))
			for i := range text {
				text[i] = alphabet[r.IntN(len(alphabet))]
			}
			return string(text)
		})
	}
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { // a secret, sometimes cut off
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			text := example(trees[rapid.IntRange(0, len(trees)-1).Draw(t, "rule")], r)
			if rapid.IntRange(0, 9).Draw(t, "cut") == 0 {
				text = text[:r.IntN(len(text)+1)]
			}
			return text
		}),
		rapid.Custom(func(t *rapid.T) string {
			words := rules[rapid.IntRange(0, len(rules)-1).Draw(t, "rule")].Keywords
			if len(words) == 0 {
				return ""
			}
			return words[rapid.IntRange(0, len(words)-1).Draw(t, "keyword")]
		}),
		run("0123456789abcdef"), run(letters+strings.ToUpper(letters)+"0123456789+/="), run("\xff\xc3\xe2\x84\xaa "),
		rapid.SampledFrom([]string{"\n", "\r\n", " ", "\t", "'", "\"", " = ", ": ", "\n\n\n", "=> ", "|", ".", "<", ">", ";",
			"K", "İ", "ſ", "é", "日本", "\xff", "\xe2\x84", "example", "ghs_123_", "-----", "key", "aws", "AWS_SECRET_ACCESS_KEY="}),
		rapid.Custom(func(t *rapid.T) string { // a long way to go
			n := rapid.IntRange(1, 200).Draw(t, "length")
			return strings.Repeat(rapid.SampledFrom([]string{"x", " ", "\n", "A", "0", "line of text\n"}).Draw(t, "what"), n)
		}),
	)
}

// files generates files of all sizes, most of them with something at the borders
// of their chunks.
func files(t testing.TB, rules []rule) *rapid.Generator[[]byte] {
	piece := pieces(t, rules)
	return rapid.Custom(func(t *rapid.T) []byte {
		var data []byte
		for range rapid.IntRange(1, 4).Draw(t, "places") {
			if border := rapid.SampledFrom([]int{0, 0, overlap, stride, bufferSize, 2 * stride, stride + bufferSize}).Draw(t, "border"); border > 0 {
				fill := rapid.SampledFrom([]string{"~", "~\n", strings.Repeat("~", 99) + "\n", "\n"}).Draw(t, "fill")
				for n := border - len(data) - rapid.IntRange(0, 200).Draw(t, "before"); n > len(fill); n -= len(fill) {
					data = append(data, fill...)
				}
			}
			for range rapid.IntRange(1, 25).Draw(t, "pieces") {
				data = append(data, piece.Draw(t, "piece")...)
			}
		}
		return append(data, "0123456789"...) // less is not scanned
	})
}

// configs are files of users.
var configs = []string{
	"",
	`
enable-builtin-rules: [aws-access-key-id, jwt-token, private-key]
disable-rules: [jwt-token]
disable-allow-rules: [examples]
`,
	`
rules:
  - {id: no-keyword, category: general, title: "16 hex digits", severity: high, regex: '\b[0-9a-f]{16}\b'}
  - {id: short-keyword, category: general, title: Short, severity: none, regex: '(?P<it>[0-9]{4,}x+)[ \n]', keywords: [x], secret-group-name: it}
  - {id: unicode-keyword, title: Unicode, severity: LOW, regex: '(?i)k[a-z0-9]{5,}', keywords: [É, İ, 日本]}
  - {id: kelvin, title: Kelvin, severity: LOW, regex: '(?i)ski[^n]', keywords: [SKİ, ski]}
  - {id: begin, title: Begin, severity: Critical, regex: '(?m)^[A-Z]+$|\A~', path: 'env$'}
  - {id: two, title: Two groups, severity: medium, regex: '(?P<it>key)[^~]{0,30}(?P<it>[0-9]{3})', secret-group-name: it}
  - {id: nothing, title: None, severity: low}
allow-rules:
  - {id: zeros, description: "", regex: '0000'}
  - {id: paths, path: '/ignored/'}
exclude-block:
  description: between dashes
  regexes: ['-----[^-]*-----']
`,
	`
rules:
  - id: hidden
    title: Hidden
    severity: critical
    regex: '[A-Za-z0-9+/=]{40}'
    keywords: [AWS, line]
    allow-rules: [{id: x, regex: 'x', path: '\.ini$'}]
    exclude-block: {regexes: ['line of text\n', "'[^']*'"]}
skip-patterns: ['**/*.log', 'etc/{a,b}/**']
`,
}

func TestFindingsAreTrivys(t *testing.T) {
	for _, config := range configs {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			trivys, ours := newJudge(t, config), newScanner(t, config)
			file := files(t, append(ours.rules.Rules, newScanner(t, "").rules.Rules...))
			path := rapid.SampledFrom([]string{"app/.env", "root/.m2/settings.xml", "srv/a.ini", "srv/a.pyc", "settings-security.xml"})
			rapid.Check(t, func(t *rapid.T) {
				data, path := file.Draw(t, "file"), path.Draw(t, "path")
				if diff := difference(trivys.scan(t, path, data), scan(t, ours, path, data)); diff != "" {
					t.Errorf("findings in %s (-Trivy +ours):\n%s", path, diff)
				}
			})
		})
	}
}
