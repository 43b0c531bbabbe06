package parser

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
)

// FuzzAnswer looks for bytes of a parser that was taken over which the process
// with the credentials takes for more than an answer.
func FuzzAnswer(f *testing.F) {
	for _, err := range []error{nil, errors.New("x\n::error::forged\x1b[2J"), fault.Usage(errors.New("no"), "do\nthis"), fault.Refused(errors.New("no"), "")} {
		var b bytes.Buffer
		if err := answer(&b, result{body: []byte("{}")}, err); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("F\x00\x00\x00\x00\x00\x00\x00\x15" + `{"code":0,"message":1`))
	f.Add([]byte("K\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := readAnswer(bytes.NewReader(data))
		if err == nil {
			if len(r.body) > len(data) {
				t.Errorf("%d bytes came of %d", len(r.body), len(data))
			}
			return
		}
		if code := fault.Code(err); code != fault.ExitFailed && code != fault.ExitUsage {
			t.Errorf("an answer makes the scan end with code %d", code)
		}
		if said := err.Error() + fault.Hint(err); strings.ContainsAny(said, "\x00\x1b\n\r") {
			t.Errorf("it says %q, which is more than a line", said)
		}
	})
}
