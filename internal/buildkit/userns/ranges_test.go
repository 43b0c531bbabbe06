package userns

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRanges(t *testing.T) {
	alice := account{uid: 1000, gid: 1000, name: "alice"}
	for _, tc := range []struct {
		name string
		file string
		user account
		want []idRange
	}{
		{"by name and by number", "alice:100000:65536\n1000:300000:10\n", alice, []idRange{{100000, 65536}, {300000, 10}}},
		{"nobody else's", "alice2:1:1\nbob:2:2\n10000:3:3\n:4:4\n", alice, nil},
		{"a user without a name owns no line without one", ":100000:65536\n", account{uid: 1000}, nil},
		{"comments, blanks, CRLF", "# alice:1:1\n\n  alice:100000:65536\r\n", alice, []idRange{{100000, 65536}}},
		{"fields missing or too many", "alice\nalice:\nalice:5\nalice:7:2:9\n", alice, []idRange{{7, 2}}},
		{"never root, nothing, or a number that is none", "alice:0:9\nalice:-4:9\nalice:9:0\nalice:9:-9\nalice:0x10:9\nalice:1e5:9\n", alice, nil},
		{"numbers that overflow", "alice:4294967295:1\nalice:4294967290:9\nalice:9223372036854775807:9223372036854775807\nalice:99999999999999999999:1\n", alice, nil},
		{"the last id there is", "alice:4294967294:1\n", alice, []idRange{{4294967294, 1}}},
		{"an overlap", "alice:2000:100\nalice:2099:5\nalice:1990:11\nalice:2100:5\n", alice, []idRange{{2000, 100}, {2100, 5}}},
		{"their own id", "alice:999:2\nalice:1001:2\n", alice, []idRange{{1001, 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseRanges(strings.NewReader(tc.file), tc.user.owns, int64(tc.user.uid))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(idRange{}), cmp.Transformer("", func(r []idRange) []idRange { return append([]idRange(nil), r...) })); diff != "" {
				t.Errorf("ranges (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRangesAreBounded(t *testing.T) {
	alice := account{uid: 1000, name: "alice"}
	var many strings.Builder
	for range maxRanges {
		many.WriteString("alice:5000:1\n")
	}
	for i := range 4 * maxRanges {
		many.WriteString("alice:" + strings.Repeat("1", 1+i%9) + "0:1\n")
	}
	got, err := parseRanges(strings.NewReader(many.String()), alice.owns, 1000)
	if err != nil || len(got) > maxRanges {
		t.Errorf("%d ranges, %v; want at most %d", len(got), err, maxRanges)
	}
	if _, err := parseRanges(strings.NewReader(strings.Repeat("x", maxFile)), alice.owns, 1000); err == nil {
		t.Error("a line of megabytes was read")
	}
}

func TestTheFixNamesARangeThatIsFree(t *testing.T) {
	for file, want := range map[string]int64{
		"":                      100000,
		"bob:500:9\n":           100000,
		"bob:100000:65536\n":    165536,
		"a:300000:5\nb:1:1\n":   300005,
		"a:4294900000:60000\n":  100000,
		"a:-5:-5\nb:100000:x\n": 100000,
	} {
		if got := firstFree(strings.NewReader(file)); got != want {
			t.Errorf("firstFree(%q) = %d, want %d", file, got, want)
		}
	}
}
