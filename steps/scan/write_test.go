package scan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestACommandForTheRunnerDoesNotSurviveInJSONHoweverItIsCut(t *testing.T) {
	want := "a ##[b ###[c ## # ##["
	document, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size <= len(document); size++ {
		var out bytes.Buffer
		w := &commandless{to: &out}
		for rest := document; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if strings.Contains(out.String(), "##[") {
			t.Errorf("in writes of %d bytes: %s has a command in it", size, out.Bytes())
		}
		var got string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != want {
			t.Errorf("in writes of %d bytes: %s is %q, %v; want %q", size, out.Bytes(), got, err, want)
		}
	}
}
