package secret

import (
	"bytes"
	"encoding/binary"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"
)

// sieve tells, in one pass over some data, which of many expressions may match
// it. The data's bytes are looked up gramSize at a time in a table of those that
// the expressions' probes begin with. (An Aho–Corasick automaton would wait for
// each byte's state before the next byte; these lookups don't wait for each
// other, and what they let through in excess the probes reject.)
type sieve struct {
	filter [1 << gramBits / 64]uint64 // by hash of gram: whether any probe has it
	heads  [1 << gramBits]uint16      // by hash of gram: index into lists
	lists  [][]uint16                 // expressions whose probes may begin so
	probes []*probe                   // by expression; nil: there is none
	always []int                      // expressions without a probe
	large  int                        // instructions of the largest automaton
}

const (
	gramBits = 16
	// padding is how many bytes sift reads past the end of the data.
	padding = gramSize - 1
	// effort bounds how many instructions are walked for one expression in one
	// piece of data, where the data was made to lead astray. Trivy's own pass
	// over a chunk with one rule costs some ten times as much.
	effort = 1 << 16
)

// condition is what a sieve knows of a rule.
type condition struct {
	expression string
	// keywords in lower case: one of them has to occur in the data's lower case
	// form. None: nothing has to.
	keywords []string
}

// conditions returns what a sieve is to know of the rules.
func conditions(rules []rule) []condition {
	all := make([]condition, len(rules))
	for i, r := range rules {
		all[i] = condition{r.Regex.text, comparable(r.Keywords)}
	}
	return all
}

// comparable returns the keywords in lower case if bytes can be compared with
// them: beyond ASCII, Unicode decides which letters are the same, and then none
// of the keywords is a condition.
func comparable(keywords []string) []string {
	var lower []string
	for _, k := range keywords {
		k = strings.ToLower(k)
		if strings.IndexFunc(k, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
			return nil
		}
		lower = append(lower, k)
	}
	return lower
}

func newSieve(conditions []condition) *sieve {
	s := &sieve{lists: make([][]uint16, 1), probes: make([]*probe, len(conditions))}
	for i, c := range conditions {
		p, ok := newProbe(c.expression)
		if !ok && len(c.keywords) > 0 {
			p, ok = newProbe(anyOf(c.keywords))
		}
		if !ok {
			s.always = append(s.always, i)
			continue
		}
		s.probes[i] = p
		s.large = max(s.large, len(p.prog.Inst))
		p.grams(func(gram uint32) { s.insert(hash(gram), uint16(i)) })
	}
	return s
}

// anyOf returns an expression for the data that holds one of the words.
func anyOf(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = regexp.QuoteMeta(w)
	}
	return "(?i:" + strings.Join(quoted, "|") + ")"
}

func (s *sieve) insert(h uint32, expression uint16) {
	s.filter[h/64] |= 1 << (h % 64)
	if s.heads[h] == 0 {
		s.heads[h] = uint16(len(s.lists))
		s.lists = append(s.lists, nil)
	}
	list := &s.lists[s.heads[h]]
	if n := len(*list); n == 0 || (*list)[n-1] != expression { // another of its grams has the same hash
		*list = append(*list, expression)
	}
}

func hash(gram uint32) uint32 { return gram * 2654435761 >> (32 - gramBits) }

// sifter is the scratch memory of a pass.
type sifter struct {
	walker
	found  []bool
	budget []int
}

func (s *sieve) sifter() *sifter {
	return &sifter{
		walker: walker{seen: marks{at: make([]uint32, s.large)}},
		found:  make([]bool, len(s.probes)),
		budget: make([]int, len(s.probes)),
	}
}

// sift returns which expressions may match data, by their index, in order. What
// it leaves out does not match. The memory of data must go on for another
// padding bytes, of any value.
func (s *sieve) sift(data []byte, m *sifter) []int {
	var may []int
	if foldsToASCII(data) {
		for i := range s.probes {
			may = append(may, i)
		}
		return may
	}
	clear(m.found)
	for i := range m.budget {
		m.budget[i] = effort
	}
	for _, i := range s.always {
		m.found[i] = true
	}
	s.pass(data, m)
	for i, found := range m.found {
		if found {
			may = append(may, i)
		}
	}
	return may
}

// pass looks up what begins at each byte of data.
func (s *sieve) pass(data []byte, m *sifter) {
	const fold = caseBit * 0x0101010101010101
	const at, step = 8, 8 - gramSize + 1 // bytes read at once, and grams in them
	i := 0
	for ; i+at <= len(data); i += step {
		word := binary.LittleEndian.Uint64(data[i:]) | fold
		for j := range step {
			if h := hash(uint32(word >> (8 * j))); s.has(h) {
				s.look(data[i+j:], h, m)
			}
		}
	}
	for padded := data[:len(data)+padding]; i < len(data); i++ {
		if h := hash(binary.LittleEndian.Uint32(padded[i:]) | fold&math.MaxUint32); s.has(h) {
			s.look(data[i:], h, m)
		}
	}
}

func (s *sieve) has(h uint32) bool { return s.filter[h/64%uint32(len(s.filter))]>>(h%64)&1 != 0 }

// look asks the probes that begin with what hashes to h.
func (s *sieve) look(data []byte, h uint32, m *sifter) {
	for _, i := range s.lists[s.heads[h]] {
		if !m.found[i] && s.probes[i].holds(data, &m.walker, &m.budget[i]) {
			m.found[i] = true
		}
	}
}

// The runes beyond ASCII that are equal to an ASCII letter for a regular
// expression without case (kelvin and longS), or in lower case (kelvin and
// dottedI).
const (
	kelvin  = '\u212A' // K
	longS   = '\u017F' // ſ
	dottedI = '\u0130' // İ
)

// foldsToASCII reports whether one of these is in data, for which probes, which
// compare bytes, don't hold.
func foldsToASCII(data []byte) bool {
	for _, r := range [...]rune{kelvin, longS, dottedI} {
		var b [utf8.UTFMax]byte
		if bytes.Contains(data, utf8.AppendRune(b[:0], r)) {
			return true
		}
	}
	return false
}
