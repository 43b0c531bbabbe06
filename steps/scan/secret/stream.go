package secret

import (
	"bytes"
	"errors"
	"io"
)

// The sizes of Trivy's chunks, bytes. Where a chunk begins and ends decides what
// is found in it, so they are its, too.
const (
	bufferSize = 64 << 10
	overlap    = 4 << 10
)

// place is where a chunk begins in its file.
type place struct {
	chunk int // from 0
	byte  int
	line  int // from 0
}

// stream cuts a file into Trivy's chunks: each begins with the end of the one
// before, and after the last one its end comes once more, alone.
type stream struct {
	r    io.Reader
	next place
	tail [overlap]byte // the end of the last chunk
	kept int           // bytes of tail
	last bool          // no more is to be read
	read int64
}

// cut reads the next chunk into buf, which has bufferSize bytes, and returns its
// length and place; io.EOF when there is none.
func (s *stream) cut(buf []byte) (int, place, error) {
	n := copy(buf, s.tail[:s.kept])
	if !s.last {
		m, err := io.ReadFull(s.r, buf[n:bufferSize])
		s.read += int64(m)
		s.last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !s.last {
			return 0, place{}, err
		}
		if m > 0 {
			at := s.next
			s.keep(buf[:n+m])
			return n + m, at, nil
		}
	}
	// A file that is no longer than an overlap would be all of it again, and
	// what is found twice in one place counts once.
	if s.kept < overlap || s.next.byte == 0 {
		return 0, place{}, io.EOF
	}
	s.kept = 0
	return n, s.next, nil
}

// keep prepares the chunk after this one.
func (s *stream) keep(chunk []byte) {
	done := max(0, len(chunk)-overlap)
	s.kept = copy(s.tail[:], chunk[done:])
	s.next.chunk++
	s.next.byte += done
	s.next.line += bytes.Count(chunk[:done], []byte{'\n'})
}
