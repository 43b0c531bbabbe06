package secret

import (
	"bytes"
	"context"
	"math/rand/v2"
	"reflect"
	"regexp/syntax"
	"slices"
	"testing"
	"unicode"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"

	trivy "github.com/aquasecurity/trivy/pkg/fanal/secret"
	"github.com/aquasecurity/trivy/pkg/fanal/utils"
)

// judge answers as Trivy does: its scanner, called as its analyzer calls it.
type judge struct{ trivy.Scanner }

func newJudge(t testing.TB, config string) judge {
	t.Helper()
	c := &trivy.Config{}
	if config != "" {
		if err := yaml.Unmarshal([]byte(config), c); err != nil {
			t.Fatal(err)
		}
		for i := range c.CustomRules {
			c.CustomRules[i].Severity = severity(c.CustomRules[i].Severity)
		}
	}
	return judge{trivy.NewScanner(c)}
}

func (j judge) wants(path string, size int64) bool {
	return size >= 10 && !j.IsSkipped(path) && !j.AllowPath(path) && !j.AllowPath("/"+path)
}

// scan returns nil for a file without findings.
func (j judge) scan(t reporter, path string, data []byte) []ftypes.SecretFinding {
	t.Helper()
	r := bytes.NewReader(data)
	binary, err := utils.IsBinary(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	if binary {
		if path[max(0, len(path)-4):] != ".pyc" {
			return nil
		}
		text, err := utils.ExtractPrintableBytes(r)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	return j.Scan(trivy.ScanArgs{FilePath: "/" + path, Content: r, Binary: binary}).Findings
}

func newScanner(t testing.TB, config string) *Scanner {
	t.Helper()
	o := Options{}
	if config != "" {
		o.Config = []byte(config)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scan(t reporter, s *Scanner, path string, data []byte) []ftypes.SecretFinding {
	t.Helper()
	x := s.Session(t.Context())
	if err := x.Scan(path, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	files, err := x.Wait()
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case len(files) == 0:
		return nil
	case len(files) > 1 || files[0].FilePath != "/"+path:
		t.Fatalf("one scan of %q found secrets in %d files, the first one %q", path, len(files), files[0].FilePath)
	}
	return files[0].Findings
}

// reporter is a test, be it rapid's or the ordinary one.
type reporter interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Context() context.Context
}

func difference(want, got []ftypes.SecretFinding) string {
	if reflect.DeepEqual(want, got) {
		return "" // cmp takes longer than both scanners
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// example writes something that an expression, but for its assertions, matches.
func example(re *syntax.Regexp, r *rand.Rand) string {
	switch re.Op {
	case syntax.OpLiteral:
		text := slices.Clone(re.Rune)
		for i := range text {
			for range r.IntN(4) * int(re.Flags&syntax.FoldCase) {
				text[i] = unicode.SimpleFold(text[i])
			}
		}
		return string(text)
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return ""
		}
		for range 20 {
			i := 2 * r.IntN(len(re.Rune)/2)
			lo, hi := re.Rune[i], min(re.Rune[i+1], re.Rune[i]+100)
			if c := lo + r.Int32N(hi-lo+1); c < 0x80 || r.IntN(50) == 0 {
				return string(c)
			}
		}
		return string(re.Rune[0])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return string([]rune("..x =é\xff")[r.IntN(7)])
	case syntax.OpCapture:
		return example(re.Sub[0], r)
	case syntax.OpConcat:
		var text string
		for _, sub := range re.Sub {
			text += example(sub, r)
		}
		return text
	case syntax.OpAlternate:
		return example(re.Sub[r.IntN(len(re.Sub))], r)
	}
	low, high := 0, -1
	switch re.Op {
	case syntax.OpQuest:
		high = 1
	case syntax.OpPlus:
		low = 1
	case syntax.OpStar:
	case syntax.OpRepeat:
		low, high = re.Min, re.Max
	default:
		return "" // assertions
	}
	if high < 0 || high > low+40 {
		high = low + 3
	}
	var text string
	for range low + r.IntN(high-low+1) {
		text += example(re.Sub[0], r)
	}
	return text
}

// secretOf writes something that a rule finds in plain surroundings.
func secretOf(t testing.TB, rule *rule, r *rand.Rand) string {
	t.Helper()
	tree, err := syntax.Parse(rule.Regex.text, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		text := example(tree, r)
		around := []byte("\n" + text + "\n")
		if rule.Regex.regexp().Match(around) && rule.hasKeyword(bytes.ToLower(around)) {
			return text
		}
	}
	t.Fatalf("no example of %s is one", rule.ID)
	return ""
}
