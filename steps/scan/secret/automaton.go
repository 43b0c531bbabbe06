package secret

import (
	"math"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// automaton is a regular expression as a graph of instructions, some of which
// take a rune. Whatever the expression matches takes a way through it; so may
// other things, since assertions (^, $, \b) and high counts are left out.
type automaton struct {
	prog  *syntax.Prog
	takes []class  // by instruction that takes a rune: which
	after []reach  // by instruction that takes a rune: what follows it
	seen  marks    // of instructions
	pool  []uint32 // behind the slices of reaches
}

// class is what an instruction takes.
type class struct {
	ascii byteSet
	wide  bool // something beyond ASCII, too
}

// reach is where a way may go on without taking anything.
type reach struct {
	to  []uint32 // instructions that take a rune
	end bool     // the match may be complete
}

// maxReach bounds the sum of all reaches of an expression: x?x?x?… has a
// quadratic one.
const maxReach = 1 << 16

// compile returns the automaton of an expression, nil if it would be too large.
func compile(expression string) *automaton {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil // cannot be: it has been compiled before
	}
	loosen(tree)
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil
	}
	n := len(prog.Inst)
	a := &automaton{prog: prog, takes: make([]class, n), after: make([]reach, n), seen: marks{at: make([]uint32, n)}}
	total := 0
	for pc := range prog.Inst {
		in := &prog.Inst[pc]
		if !takesRune(in) {
			continue
		}
		if prev := pc - 1; prev >= 0 && sameRunes(in, &prog.Inst[prev]) { // as in [a-z]{40}
			a.takes[pc] = a.takes[prev]
		} else {
			a.takes[pc] = newClass(in)
		}
		a.after[pc] = a.reach(in.Out)
		if total += len(a.after[pc].to); total > maxReach {
			return nil
		}
	}
	return a
}

// maxRepeats bounds how many optional repetitions are written out as instructions.
const maxRepeats = 50

// loosen makes of x{50,1000} x{50,}, which is matched by more.
func loosen(tree *syntax.Regexp) {
	if tree.Op == syntax.OpRepeat && tree.Max-tree.Min > maxRepeats {
		tree.Max = -1
	}
	for _, sub := range tree.Sub {
		loosen(sub)
	}
}

func newClass(in *syntax.Inst) class {
	c := class{wide: takesWide(in)}
	for b := range byte(utf8.RuneSelf) {
		if in.MatchRune(rune(b)) {
			c.ascii.add(b)
		}
	}
	return c
}

func sameRunes(a, b *syntax.Inst) bool {
	return takesRune(b) && a.Op == b.Op && a.Arg == b.Arg && slices.Equal(a.Rune, b.Rune)
}

// marks are the members of a set that is emptied often.
type marks struct {
	at    []uint32 // by member: the last round that had it
	round uint32
}

func (m *marks) clear() {
	if m.round++; m.round == 0 {
		clear(m.at)
		m.round = 1
	}
}

// add adds a member and reports whether it is new.
func (m *marks) add(i uint32) bool {
	fresh := m.at[i] != m.round
	m.at[i] = m.round
	return fresh
}

func takesRune(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}

// takesWide reports whether an instruction takes a rune beyond ASCII other than
// those that fold to ASCII: [foldsToASCII] keeps these away.
func takesWide(in *syntax.Inst) bool {
	switch {
	case in.Op == syntax.InstRuneAny, in.Op == syntax.InstRuneAnyNotNL:
		return true
	case len(in.Rune) == 1: // a literal, of any case if so flagged
		for r := unicode.SimpleFold(in.Rune[0]); ; r = unicode.SimpleFold(r) {
			if r >= utf8.RuneSelf && r != kelvin && r != longS && in.MatchRune(r) {
				return true
			}
			if r == in.Rune[0] {
				return false
			}
		}
	}
	for i := 0; i+1 < len(in.Rune); i += 2 {
		lo, hi := max(in.Rune[i], utf8.RuneSelf), in.Rune[i+1]
		if lo <= hi && !(lo == hi && (lo == kelvin || lo == longS)) {
			return true
		}
	}
	return false
}

func passive(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstCapture, syntax.InstEmptyWidth, syntax.InstNop:
		return true
	}
	return false
}

// successors appends where an instruction leads.
func successors(to []uint32, in *syntax.Inst) []uint32 {
	switch in.Op {
	case syntax.InstMatch, syntax.InstFail:
		return to
	case syntax.InstAlt, syntax.InstAltMatch:
		return append(to, in.Out, in.Arg)
	}
	return append(to, in.Out)
}

// reach follows what takes nothing.
func (a *automaton) reach(pc uint32) reach {
	var r reach
	begin := len(a.pool)
	a.seen.clear()
	var few [16]uint32
	for stack := append(few[:0], pc); len(stack) > 0; {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !a.seen.add(pc) {
			continue
		}
		switch in := &a.prog.Inst[pc]; {
		case takesRune(in):
			a.pool = append(a.pool, pc)
		case in.Op == syntax.InstMatch:
			r.end = true
		default:
			stack = successors(stack, in)
		}
	}
	r.to = a.pool[begin:len(a.pool):len(a.pool)]
	return r
}

// opening returns, byte by byte, what a way from at can begin with: at most limit
// sets, fewer where it may have ended or left ASCII before.
func (a *automaton) opening(at reach, limit int) []byteSet {
	var sets []byteSet
	for !at.end && len(sets) < limit {
		set, wide := a.first(at)
		sets = append(sets, set)
		if wide { // nobody knows where the next rune begins
			break
		}
		at = a.advance(at, func(class) bool { return true })
	}
	return sets
}

// first returns the bytes that a way from at can begin with, and whether some of
// them begin a rune beyond ASCII.
func (a *automaton) first(at reach) (set byteSet, wide bool) {
	for _, pc := range at.to {
		for i, word := range a.takes[pc].ascii {
			set[i] |= word
		}
		wide = wide || a.takes[pc].wide
	}
	if wide {
		set[2], set[3] = math.MaxUint64, math.MaxUint64
	}
	return set, wide
}

// advance returns where a way from at may be after a rune for which takes is true.
func (a *automaton) advance(at reach, takes func(class) bool) reach {
	var next reach
	a.seen.clear()
	for _, pc := range at.to {
		if !takes(a.takes[pc]) {
			continue
		}
		next.end = next.end || a.after[pc].end
		for _, to := range a.after[pc].to {
			if a.seen.add(to) {
				next.to = append(next.to, to)
			}
		}
	}
	return next
}
