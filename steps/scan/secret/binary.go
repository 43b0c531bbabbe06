package secret

import (
	"io"
	"unicode"
)

// headSize is how much of a file tells whether it is binary, bytes.
const headSize = 300

// isBinary reports whether the head of a file has control characters that text
// has not.
//
// The rule is Trivy's, from https://github.com/file/file/blob/f2a6e7cb7db9/src/encoding.c#L151-L228.
func isBinary(head []byte) bool {
	for _, b := range head {
		switch {
		case b == '\a', b == '\b', b == '\t', b == '\n', b == '\f', b == '\r', b == 0x1b:
		case b < ' ', b == 0x7f:
			return true
		}
	}
	return false
}

// printable reads the printable runs of a file, each as a line. A byte is a
// character of Latin-1 here, as it is to Trivy.
type printable struct {
	r    io.Reader
	in   [4096]byte
	out  []byte // not read yet
	run  []byte // the last few printable bytes, as long as they are too few
	long bool   // the run has begun to be read
	err  error
}

// shortestRun is the least number of printable bytes that count.
const shortestRun = 5

func (p *printable) Read(to []byte) (int, error) {
	for len(p.out) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		var n int
		n, p.err = p.r.Read(p.in[:])
		p.out = p.out[:0]
		for _, b := range p.in[:n] {
			p.take(b)
		}
		if p.err != nil {
			p.end()
		}
	}
	n := copy(to, p.out)
	p.out = p.out[n:]
	return n, nil
}

func (p *printable) take(b byte) {
	if !unicode.IsPrint(rune(b)) {
		p.end()
		return
	}
	if p.long {
		p.out = append(p.out, b)
		return
	}
	if p.run = append(p.run, b); len(p.run) == shortestRun {
		p.out = append(p.out, p.run...)
		p.long = true
	}
}

// end ends a run.
func (p *printable) end() {
	if p.long {
		p.out = append(p.out, '\n')
	}
	p.long, p.run = false, p.run[:0]
}
