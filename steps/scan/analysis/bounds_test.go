package analysis

import (
	"errors"
	"strings"
	"testing"
)

func TestBoundsMeasureText(t *testing.T) {
	b := bounds{size: 1 << 20, depth: 4, values: 10, objects: 3, text: 20}
	json, toml := bounds.checkJSON, bounds.checkTOML
	for _, tc := range []struct {
		name  string
		check func(bounds, []byte) error
		text  string
		fits  bool
	}{
		{"four deep", json, `{"a":{"a":{"a":[]}}}`, true},
		{"five deep", json, `{"a":{"a":{"a":[[]]}}}`, false},
		{"one after the other", json, `[[[[]]],[[[]]]]`, true},
		{"brackets in a string", json, `["[[[[[[", "\"[[[[[\\"]`, true},
		{"three objects", json, `[{},{},{}]`, true},
		{"four objects", json, `[{},{},{},{}]`, false},
		{"ten values", json, `[1,2,3,4,5,6,7,8,9,0]`, true},
		{"eleven values", json, `[1,2,3,4,5,6,7,8,9,0,1]`, false},
		{"a long string", json, `"` + strings.Repeat("x", 19) + `"`, false},
		{"a string that never ends", json, `["[[[[[[`, true},

		{"four deep", toml, "a = [[[[1]]]]", true},
		{"five deep", toml, "a = [[[[[1]]]]]", false},
		{"a dotted key", toml, "a.b.c.d.e = 1", true},
		{"a longer one", toml, "a.b.c.d.e.f = 1", false},
		{"a header and below it", toml, "[a.b]\nc.d = [1]", true},
		{"a header and too deep below it", toml, "[a.b]\nc.d = [[1]]", false},
		{"a header of an array", toml, "[[a.b]]\nc.d = [[1]]", false},
		{"the header before is over", toml, "[a.b.c.d]\n[a]\nb = [[[1]]]", true},
		{"tables in tables", toml, "a = {b.c = {d.e.f = 1}}", false},
		{"dots in numbers and strings", toml, "a = [1.5, 2.5, 3.5, \"1.2.3.4.5.6\", '1.2.3.4.5']", true},
		{"brackets in a string of lines", toml, "a = \"\"\"\n[[[[[\"[[[\n\"\"\"\nb = '''[[[[['''", true},
		{"brackets in a comment", toml, "# [[[[[[[\na = 1 # [[[[[", true},
		{"eleven keys", toml, strings.Repeat("a = 1\n", 11), false},
		{"a long string", toml, "a = '" + strings.Repeat("x", 20) + "'", false},
		{"a string that its line ends", toml, "a = \"x\nb = [[[[[1]]]]]", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.check(b, []byte(tc.text)); tc.fits != (err == nil) || err != nil && !errors.Is(err, errTooLarge) {
				t.Errorf("%s: %v; fits: %t", tc.text, err, tc.fits)
			}
		})
	}
}
