package secret

import (
	"regexp/syntax"
	"slices"
)

// bottlenecks returns the instructions that every match passes, in their order:
// the dominators of its end, but for those that only lead to the next one.
func (a *automaton) bottlenecks() []uint32 {
	path := a.shortest()
	place := make([]int, len(a.prog.Inst)) // on the path, from 1
	for i, pc := range path {
		place[pc] = i + 1
	}
	var found, stack []uint32
	a.seen.clear()
	farthest := 0 // on the path, of what can be reached from before
	for i, pc := range path {
		if farthest <= i && !passive(&a.prog.Inst[pc]) {
			found = append(found, pc) // there is no way around it
		}
		stack = successors(stack[:0], &a.prog.Inst[pc])
		for len(stack) > 0 {
			pc := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			switch {
			case place[pc] > 0:
				farthest = max(farthest, place[pc]-1)
			case a.seen.add(pc):
				stack = successors(stack, &a.prog.Inst[pc])
			}
		}
	}
	return found
}

// shortest returns a shortest way from start to match; none if there is no way.
func (a *automaton) shortest() []uint32 {
	start := uint32(a.prog.Start)
	from := make([]uint32, len(a.prog.Inst))
	a.seen.clear()
	a.seen.add(start)
	for queue, i := []uint32{start}, 0; i < len(queue); i++ {
		pc := queue[i]
		if a.prog.Inst[pc].Op == syntax.InstMatch {
			way := []uint32{pc}
			for pc != start {
				pc = from[pc]
				way = append(way, pc)
			}
			slices.Reverse(way)
			return way
		}
		for _, next := range successors(nil, &a.prog.Inst[pc]) {
			if a.seen.add(next) {
				from[next] = pc
				queue = append(queue, next)
			}
		}
	}
	return nil
}
