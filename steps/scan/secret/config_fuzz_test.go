package secret

import "testing"

// FuzzConfig looks for a user's rules that are taken, and then break the scan.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"disable-rules: [aws-access-key-id]\nskip-patterns: []\n", "enable-builtin-rules: [jwt-token]\nallow-rules: [{id: a, path: '\\.md$'}]\n",
		"rules:\n- {id: a, severity: HIGH, regex: '(?P<secret>a+)b{2,9}', keywords: [A], secret-group-name: secret, path: x}\n",
		"rules:\n- {id: a, regex: ''}\n- {id: b, regex: '^|$|\\b'}\nexclude-block: {description: x, regexes: ['-+']}\n", "rules: [null]", "[]", "",
	} {
		f.Add(text, "export key=aabb AKIA0123456789ABCDEF ------\n")
	}
	f.Fuzz(func(t *testing.T, text, data string) {
		s, err := New(Options{Config: []byte(text)})
		if err != nil {
			return
		}
		scan(t, s, "srv/notes.txt", []byte(data))
	})
}
