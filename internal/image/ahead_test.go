package image

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

func TestReadingAheadChangesNothing(t *testing.T) {
	odd := errors.New("odd")
	for _, size := range []int{0, 1, aheadBlock - 1, aheadBlock, aheadBlock + 1, 9*aheadBlock + 7} {
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for name, from := range map[string]io.Reader{
			"whole":          bytes.NewReader(content),
			"in small reads": iotest.HalfReader(bytes.NewReader(content)),
			"end with data":  iotest.DataErrReader(bytes.NewReader(content)),
			"with an error":  io.MultiReader(bytes.NewReader(content), iotest.ErrReader(odd)),
		} {
			a := readAhead(io.NopCloser(from))
			got, err := io.ReadAll(a)
			if want := name == "with an error"; want != errors.Is(err, odd) || !want && err != nil {
				t.Errorf("%d bytes, %s: error %v", size, name, err)
			}
			if !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %s: got %d other ones", size, name, len(got))
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestClosingWhatIsReadAheadWaitsForTheReader(t *testing.T) {
	r, w := io.Pipe()
	a := readAhead(struct {
		io.Reader
		io.Closer
	}{r, r})
	if _, err := w.Write(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	w.Close() // else the read would wait for ever
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := io.ReadAll(a); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after it was closed: %v; want %v", err, os.ErrClosed)
	}
}
