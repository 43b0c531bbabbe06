package finding

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSeveritiesAreReadInAnyCaseAndWrittenInUpperCase(t *testing.T) {
	for _, want := range Severities() {
		for _, text := range []string{want.String(), strings.ToLower(want.String()), " " + want.String() + " "} {
			got, err := ParseSeverity(text)
			if err != nil || got != want {
				t.Errorf("ParseSeverity(%q) = %v, %v; want %v", text, got, err, want)
			}
		}
		data, err := json.Marshal(map[Severity]Severity{want: want})
		if err != nil {
			t.Fatal(err)
		}
		if wantJSON := `{"` + want.String() + `":"` + want.String() + `"}`; string(data) != wantJSON {
			t.Errorf("JSON of %v is %s, want %s", want, data, wantJSON)
		}
	}
}

func TestAnUnknownSeverityNamesWhatIsAccepted(t *testing.T) {
	_, err := ParseSeverity("blocker")
	if err == nil || !strings.Contains(err.Error(), `"blocker"`) || !strings.Contains(err.Error(), "critical, high") {
		t.Errorf("ParseSeverity(blocker): error %v; want the value and the accepted names", err)
	}
}

func TestPlaceIsShort(t *testing.T) {
	for _, tc := range []struct {
		place Place
		want  string
	}{
		{Place{}, ""},
		{Place{File: "Dockerfile"}, "Dockerfile"},
		{Place{File: "Dockerfile", Line: 12}, "Dockerfile:12"},
		{Place{Package: "zlib1g", Version: "1:1.2.13"}, "zlib1g@1:1.2.13"},
		{Place{Package: "log4j-core", Version: "2.14.1", File: "app/x.jar"}, "log4j-core@2.14.1 (app/x.jar)"},
		{Place{Package: "log4j-core"}, "log4j-core"},
		{Place{Package: "log4j-core", Platforms: []string{"linux/amd64", "linux/arm64"}}, "log4j-core on linux/amd64, linux/arm64"},
	} {
		if got := tc.place.String(); got != tc.want {
			t.Errorf("%#v.String() = %q, want %q", tc.place, got, tc.want)
		}
	}
}

func TestCountsHaveEverySeverityAndReadMostSevereFirst(t *testing.T) {
	c := Count([]Finding{{Severity: High}, {Severity: Critical}, {Severity: High}})
	if diff := cmp.Diff(Counts{Critical: 1, High: 2, Medium: 0, Low: 0, Unknown: 0}, c); diff != "" {
		t.Errorf("Count (-want +got):\n%s", diff)
	}
	if got, want := c.String(), "1 CRITICAL, 2 HIGH"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := Count(nil).String(), "no findings"; got != want {
		t.Errorf("String() of nothing = %q, want %q", got, want)
	}
}

func TestSortPutsTheMostSevereFirst(t *testing.T) {
	in := []Finding{
		{Severity: Low, Rule: "B"},
		{Severity: Low, Rule: "A"},
		{Severity: Critical, Rule: "Z", Place: Place{Package: "b"}},
		{Severity: Critical, Rule: "Z", Place: Place{Package: "a"}},
	}
	Sort(in)
	var got []string
	for _, f := range in {
		got = append(got, f.Severity.String()+" "+f.Rule+f.Place.Package)
	}
	if diff := cmp.Diff([]string{"CRITICAL Za", "CRITICAL Zb", "LOW A", "LOW B"}, got); diff != "" {
		t.Errorf("Sort (-want +got):\n%s", diff)
	}
}
