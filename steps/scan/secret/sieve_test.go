package secret

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEachOfTrivysRulesHasItsProbe(t *testing.T) {
	rules := newScanner(t, "").rules.Rules
	if len(rules) != 105 {
		t.Errorf("%d rules, want 105", len(rules))
	}
	sieve := newSieve(conditions(rules))
	if len(sieve.always) > 0 {
		t.Errorf("rules %v have no condition: every chunk is given to them", sieve.always)
	}
	r := rand.New(rand.NewPCG(3, 4))
	m := sieve.sifter()
	for i := range rules {
		if _, ok := newProbe(rules[i].Regex.text); !ok {
			t.Errorf("%s: the expression has no probe; only its keywords are looked for", rules[i].ID)
		}
		grams := 0
		sieve.probes[i].grams(func(uint32) { grams++ })
		if grams > 512 {
			t.Errorf("%s: there are %d places to look at; want at most 512", rules[i].ID, grams)
		}
		for range 20 {
			secret := secretOf(t, &rules[i], r)
			if foldsToASCII([]byte(secret)) {
				continue
			}
			if may := sieve.sift(padded(secret), m); !slices.Contains(may, i) {
				t.Errorf("%s: the probe does not hold for %q, which matches", rules[i].ID, secret)
			}
			// The first half of a secret is none, and a probe worth its name knows.
			half := secret[:len(secret)/2]
			if may := sieve.sift(padded(half), m); slices.Contains(may, i) && !rules[i].Regex.regexp().MatchString(half) {
				t.Errorf("%s: the probe holds for %q", rules[i].ID, half)
			}
		}
	}
}

func padded(text string) []byte {
	return append([]byte(text), "key"[:padding]...)[:len(text)]
}

// expressions generates expressions of all kinds over a small alphabet, in which
// matches are common.
func expressions() *rapid.Generator[string] {
	atoms := rapid.SampledFrom([]string{"a", "b", "k", "s", "K", "S", "é", "i", "0", "x", ".", "[ab]", "[^a]", "[a-z]", "[ks]", "\\s", "\\d", "\\w",
		"\\b", "\\B", "^", "$", "\\A", "\\z", "ab", "key", "abk0", "(?s:.)", "ſ", "K", "[^é]", "\\x{FFFD}", "[^\\x00-\\x{10FFFF}]"})
	var expression func(depth int) *rapid.Generator[string]
	expression = func(depth int) *rapid.Generator[string] {
		if depth == 0 {
			return atoms
		}
		return rapid.Custom(func(t *rapid.T) string {
			sub := func() string { return expression(depth-1).Draw(t, "part") }
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				return "(?:" + sub() + "|" + sub() + ")"
			case 1:
				return "(?:" + sub() + ")" + rapid.SampledFrom([]string{"*", "+", "?", "*?", "{2}", "{0,3}", "{2,}", "{1,60}"}).Draw(t, "count")
			case 2:
				return "(?i:" + sub() + ")"
			case 3:
				return "(?P<g>" + strings.ReplaceAll(sub(), "?P<g>", "") + ")"
			case 4:
				return "(?m:" + sub() + ")"
			case 5:
				return atoms.Draw(t, "atom")
			default:
				return strings.ReplaceAll(sub()+sub()+sub(), "?P<g>", "")
			}
		})
	}
	return expression(4)
}

func TestASieveLosesNoMatch(t *testing.T) {
	every := expressions()
	noise := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "k", "s", "K", "0", "x", "é", "ſ", "K", "İ", "\xff", "\xe2\x84", "\n", " ", "key"}), 0, 12)
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		var all []condition
		for range 20 {
			if e := every.Draw(t, "expression"); len(e) < 500 {
				if _, err := regexp.Compile(e); err == nil {
					all = append(all, condition{expression: e})
				}
			}
		}
		sieve := newSieve(all)
		m := sieve.sifter()
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i, c := range all {
			tree, err := syntax.Parse(c.expression, syntax.Perl)
			if err != nil {
				t.Fatal(err)
			}
			data := strings.Join(noise.Draw(t, "before"), "") + example(tree, r) + strings.Join(noise.Draw(t, "after"), "")
			if !regexp.MustCompile(c.expression).MatchString(data) {
				continue
			}
			if !slices.Contains(sieve.always, i) {
				matched++
			}
			if !slices.Contains(sieve.sift(padded(data), m), i) {
				t.Errorf("%q matches %q, and the sieve lost it", c.expression, data)
			}
		}
	})
	if matched < 100 {
		t.Errorf("only %d examples matched an expression that has a probe: too few to show anything", matched)
	}
}

// Data made to begin like a secret everywhere must not cost more than a rule's
// expression would.
func TestASieveGivesUpWhereItIsLedAstray(t *testing.T) {
	const rule = `sk-service-[A-Za-z0-9-]+-[A-Za-z0-9]{20}T3BlbkFJ`
	sieve := newSieve([]condition{{expression: rule}})
	m := sieve.sifter()
	if may := sieve.sift(padded(strings.Repeat("sk-service-", bufferSize/11)), m); len(may) != 1 {
		t.Error("the sieve says there is no match, after how long a search?")
	}
	if m.budget[0] < -effort {
		t.Errorf("%d instructions were walked, want %d at most", effort-m.budget[0], 2*effort)
	}
}
