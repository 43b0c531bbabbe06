package image

import (
	"io"
	"os"
)

const (
	// aheadBlock is how much is read at a time, bytes: enough that handing
	// it over costs nothing, and little enough for a processor's cache.
	aheadBlock = 256 << 10
	// aheadBlocks is how many blocks may wait to be taken.
	aheadBlocks = 4
)

// ahead reads from another reader in a goroutine of its own, so that hashing and
// decompressing use one CPU and what becomes of the content another.
type ahead struct {
	from   io.ReadCloser
	full   chan block
	empty  chan []byte
	stop   chan struct{}
	closed bool
	taken  block // being read
	at     int   // in it
}

// block is what one read gave.
type block struct {
	data []byte
	err  error
}

func readAhead(from io.ReadCloser) *ahead {
	a := &ahead{from: from, full: make(chan block, aheadBlocks), empty: make(chan []byte, aheadBlocks), stop: make(chan struct{})}
	for range aheadBlocks {
		a.empty <- nil // made when they are needed: most layers are small
	}
	go a.fill()
	return a
}

func (a *ahead) fill() {
	defer close(a.full)
	for {
		var buf []byte
		select {
		case <-a.stop:
			return
		case buf = <-a.empty:
		}
		if buf == nil {
			buf = make([]byte, aheadBlock)
		}
		b := fillBlock(a.from, buf[:cap(buf)])
		a.full <- b // never waits: there are no more blocks than places
		if b.err != nil {
			return
		}
	}
}

// fillBlock reads until buf is full or there is an error, which keeps its
// identity: io.ReadFull would call a short content io.ErrUnexpectedEOF.
func fillBlock(r io.Reader, buf []byte) block {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return block{buf[:n], err}
		}
	}
	return block{buf, nil}
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for a.at == len(a.taken.data) {
		if a.taken.err != nil {
			return 0, a.taken.err
		}
		if a.taken.data != nil {
			a.empty <- a.taken.data
		}
		next, ok := <-a.full
		if !ok {
			next.err = os.ErrClosed
		}
		a.taken, a.at = next, 0
	}
	n := copy(p, a.taken.data[a.at:])
	a.at += n
	return n, nil
}

// Close implements io.Closer. It waits until nobody reads from the other reader
// any more, and closes it.
func (a *ahead) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	close(a.stop)
	for range a.full {
	}
	return a.from.Close()
}
