package scan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestWhatDoesSomethingWherePrintedDoesNotSurviveInJSONHoweverItIsCut(t *testing.T) {
	want := "a ##[b ####[c ## # é##[ \u009b31m \u202e \x7f \U000e0001 ✓ 😀"
	document, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size <= len(document); size++ {
		var out bytes.Buffer
		w := &harmless{to: &out}
		for rest := document; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if strings.Contains(out.String(), "##[") || strings.ContainsFunc(out.String(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("in writes of %d bytes: %q has a command in it, or what does not print", size, out.Bytes())
		}
		var got string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != want {
			t.Errorf("in writes of %d bytes: %s is %q, %v; want %q", size, out.Bytes(), got, err, want)
		}
	}
}
