package differential

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/fanal/secret"
)

// ruleFixture has, for each of Trivy's own rules, files with texts that are made
// after the rule's expression.
func ruleFixture() fixture {
	return fixture{name: "secrets-every-rule", layers: func(t *testing.T) []*layer {
		var layers []*layer
		for n, rule := range secret.NewScanner(nil).Rules {
			l := run("COPY " + rule.ID)
			expression, err := syntax.Parse(rule.Regex.String(), syntax.Perl)
			if err != nil {
				t.Fatal(err)
			}
			place := fmt.Sprintf("srv/%d/", n)
			if rule.Path != nil {
				place = "root/.m2/"
			}
			for seed := range 4 {
				text := sample(expression.Simplify(), uint32(n*10+seed+1))
				name := fmt.Sprintf("%d.txt", seed)
				if rule.Path != nil {
					name = []string{"settings.xml", "settings-security.xml", "other.xml", "x.txt"}[seed]
				}
				l.text(place+name, fmt.Sprintf("first line\n%s\nkeywords: %s\nlast line\n", text, strings.Join(rule.Keywords, " ")))
			}
			layers = append(layers, l)
		}
		return layers
	}}
}

// sample is a text that the expression matches, another for another seed.
func sample(re *syntax.Regexp, seed uint32) string {
	s := sampler{state: seed}
	s.write(re)
	return s.text.String()
}

type sampler struct {
	text  strings.Builder
	state uint32
}

// next is a number below n, the same in each run: a linear congruential generator.
func (s *sampler) next(n int) int {
	s.state = s.state*1664525 + 1013904223
	return int(s.state>>8) % n
}

func (s *sampler) write(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		s.text.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		s.text.WriteRune(s.pick(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		s.text.WriteByte(byte('a' + s.next(26)))
	case syntax.OpAlternate:
		s.write(re.Sub[s.next(len(re.Sub))])
	case syntax.OpStar:
		s.repeat(re.Sub[0], s.next(3))
	case syntax.OpPlus:
		s.repeat(re.Sub[0], 1+s.next(3))
	case syntax.OpQuest:
		s.repeat(re.Sub[0], s.next(2))
	default: // concatenations and groups; assertions say nothing
		for _, sub := range re.Sub {
			s.write(sub)
		}
	}
}

func (s *sampler) repeat(re *syntax.Regexp, n int) {
	for range n {
		s.write(re)
	}
}

// pick takes a printable character of a class of ranges.
func (s *sampler) pick(class []rune) rune {
	var printable []rune
	for i := 0; i < len(class); i += 2 {
		for r := max(class[i], ' '); r <= min(class[i+1], '~'); r++ {
			printable = append(printable, r)
		}
	}
	if len(printable) == 0 {
		return class[0]
	}
	return printable[s.next(len(printable))]
}
