package secret

import (
	"math"
	"unicode/utf8"
)

// probe is a necessary condition for an expression to match: somewhere in the
// data, a way through the last part of the expression begins.
//
// The last part begins at a bottleneck, an instruction that every match passes.
// Of these the one is taken whose next bytes are the least likely, a literal in
// most expressions, so that few places are worth a look at all.
type probe struct {
	*automaton
	from    reach
	opening []byteSet // of the first bytes, as far as they are known
}

const (
	gramSize = 4 // bytes looked up at once
	// maxWays bounds in how many ways the first gramSize bytes can be written. Of
	// Trivy's rules the freest has 1,512.
	maxWays = 4096
	// judged is how many bytes count when bottlenecks are compared: more would
	// prefer a long literal to an earlier one, after which more is left to check.
	judged = 6
	// maxOpening bounds the bytes checked one by one.
	maxOpening = 64
)

// newProbe derives the probe of an expression. There is none if no bottleneck's
// next bytes are few enough.
func newProbe(expression string) (*probe, bool) {
	a := compile(expression)
	if a == nil {
		return nil, false
	}
	best, from := math.Inf(1), reach{}
	for _, pc := range a.bottlenecks() {
		at := a.reach(pc)
		if w := a.ways(at); w < best {
			best, from = w, at
		}
	}
	if math.IsInf(best, 1) {
		return nil, false
	}
	return &probe{a, from, a.opening(from, maxOpening)}, true
}

// ways returns in how many ways the first judged bytes of a way from at can be
// written, multiplied by that for the first gramSize, which cost more: infinity
// if these are too many.
func (a *automaton) ways(at reach) float64 {
	const whatever = 128 // ways to write a byte, when upper and lower case are one
	ways, known := 1.0, !at.end
	for i := range judged {
		if !known {
			ways *= whatever
		} else {
			set, wide := a.first(at)
			at = a.advance(at, func(class) bool { return true })
			ways *= float64(folded(set).size())
			known = !wide && !at.end
		}
		if i < gramSize && ways > maxWays {
			return math.Inf(1)
		}
		if i == gramSize-1 {
			ways *= ways
		}
	}
	return ways
}

// grams calls add with every way in which data may begin where the probe holds:
// gramSize bytes, folded, the first one lowest.
func (p *probe) grams(add func(uint32)) { p.gramsFrom(p.from, false, 0, 0, add) }

// gramsFrom goes on from n bytes of a gram; free: with any byte, since the way is
// not known any more.
func (p *probe) gramsFrom(at reach, free bool, n int, gram uint32, add func(uint32)) {
	if n == gramSize {
		add(gram)
		return
	}
	set, wide := byteSet{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}, false
	if free = free || at.end; free {
		set = folded(set) // which of two cases it is makes no difference any more
	} else {
		set, wide = p.first(at)
	}
	for b := range 256 {
		if !set.has(byte(b)) {
			continue
		}
		free, next := free || wide && b >= utf8.RuneSelf, reach{}
		if !free {
			next = p.automaton.advance(at, func(c class) bool { return c.ascii.has(byte(b)) })
		}
		p.gramsFrom(next, free, n+1, gram|uint32(b|caseBit)<<(8*n), add)
	}
}

// walker is the scratch memory of a walk through automatons.
type walker struct {
	now, next []uint32
	seen      marks // of instructions
}

// holds reports whether a way begins at the start of data. It takes what a walk
// costs from budget and, once that is used up, no longer looks: then it holds.
func (p *probe) holds(data []byte, w *walker, budget *int) bool {
	if len(data) < len(p.opening) {
		return false
	}
	for i := range p.opening {
		if !p.opening[i].has(data[i]) {
			return false
		}
	}
	w.now = append(w.now[:0], p.from.to...)
	for len(w.now) > 0 {
		if *budget -= len(w.now); *budget < 0 {
			return true
		}
		if len(data) == 0 {
			return false
		}
		r, width := rune(data[0]), 1
		if r >= utf8.RuneSelf {
			r, width = utf8.DecodeRune(data)
		}
		if p.advance(r, w) {
			return true
		}
		data = data[width:]
	}
	return false
}

// advance takes one rune and reports whether a way has come to its end.
func (p *probe) advance(r rune, w *walker) bool {
	w.seen.clear()
	w.next = w.next[:0]
	for _, pc := range w.now {
		takes := &p.takes[pc]
		if r < utf8.RuneSelf && !takes.ascii.has(byte(r)) ||
			r >= utf8.RuneSelf && !(takes.wide && p.prog.Inst[pc].MatchRune(r)) {
			continue
		}
		after := &p.after[pc]
		if after.end {
			return true
		}
		for _, to := range after.to {
			if w.seen.add(to) {
				w.next = append(w.next, to)
			}
		}
	}
	w.now, w.next = w.next, w.now
	return false
}
