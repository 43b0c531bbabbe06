package build

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecordsAreSplitAsBuildPushActionDoes(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"one a line", "A=1\nB=2\n", []string{"A=1", "B=2"}},
		{"commas stay", "A=1,2,3", []string{"A=1,2,3"}},
		{"Windows line ends", "A=1\r\nB=2\r\n", []string{"A=1", "B=2"}},
		{"empty lines go", "\nA=1\n \n\nB=2", []string{"A=1", "B=2"}},
		{"nothing is trimmed", " A= 1 ", []string{" A= 1 "}},
		{"quoted record spans lines", "\"KEY=line 1\nline 2\n\"\nB=2", []string{"KEY=line 1\nline 2\n", "B=2"}},
		{"empty line inside quotes", "\"KEY=a\n\nb\"", []string{"KEY=a\n\nb"}},
		{"doubled quote is a quote", `"KEY={""a"":""b""}"`, []string{`KEY={"a":"b"}`}},
		{"quote inside is itself", `KEY="b"`, []string{`KEY="b"`}},
		{"quoted field after a comma", `A=1,"2,3"`, []string{`A=1,2,3`}},
		{"text after the closing quote", `"A=1"2`, []string{`A=12`}},
		{"JSON array", "[\"A=1\", \"\\\"B=2\"]", []string{"A=1", `"B=2`}},
		{"JSON array said so", `json:["A=1"]`, []string{"A=1"}},
		{"nothing", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := records(tc.text)
			if err != nil {
				t.Fatalf("records(%q): %v", tc.text, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("records(%q) (-want +got):\n%s", tc.text, diff)
			}
		})
	}
	for _, text := range []string{`"KEY=never closed`, "A=1\n\"B=\"\"2", `["not closed`, `json:{"a":1}`} {
		if got, err := records(text); err == nil {
			t.Errorf("records(%q) = %q, want an error", text, got)
		}
	}
}

func TestQuotedItemsOfALineListAreJoined(t *testing.T) {
	got, err := joined([]string{`A=1`, `"B=first`, `second""s"`, `C={"x":1,"y":2}`})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=1", "B=first\nsecond\"s", `C={"x":1,"y":2}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("joined (-want +got):\n%s", diff)
	}
	if _, err := joined([]string{`"B=first`, "second"}); err == nil {
		t.Error("a quote that is never closed is accepted")
	}
}
