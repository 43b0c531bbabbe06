package parser

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
)

// request asks the parser for one thing. Descriptors come with it: where the
// answer goes, always; then the body and the content, where it has them.
type request struct {
	Do   string `json:"do"`
	Body bool   `json:"body,omitempty"` // a JSON document, to be read to its end

	Blob *Blob  `json:"blob,omitempty"` // of layer
	Span *span  `json:"span,omitempty"` // of layer: where the blob is in its file; nil is a stream
	ID   string `json:"id,omitempty"`   // of known: diff ID
	Path string `json:"path,omitempty"` // of database and index: what errors call it
	Form string `json:"form,omitempty"` // of render
}

type span struct {
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
}

// What a request can ask for.
const (
	doSetup    = "setup"    // body: setup; answer: sandbox.Status
	doLayer    = "layer"    // content: the blob; answer: analysis.Result
	doKnown    = "known"    // content: an answer to layer, of an earlier process
	doDatabase = "database" // content: trivy.db
	doIndex    = "index"    // content: trivy-java.db
	doInspect  = "inspect"  // body: Image; answer: Report
	doRender   = "render"   // body: types.Report; answer: an SBOM
)

// An answer is a byte that says which, the length of what follows, and that: a
// process that dies half-way has then not answered.
const (
	answerOK     = 'K'
	answerOnce   = 'O' // it may be another the next time
	answerFailed = 'F'
	answerHeader = 1 + 8
)

// failure is an error on its way between processes.
type failure struct {
	Message string `json:"message"`
	Advice  string `json:"hint,omitempty"`
	Code    int    `json:"code"`
}

// Error implements error.
func (f *failure) Error() string { return f.Message }

// Hint says what to do.
func (f *failure) Hint() string { return f.Advice }

// ExitCode is that of the error it was. Whoever took over the parser gets no
// other: 0 would be a pass.
func (f *failure) ExitCode() int {
	if f.Code == fault.ExitUsage {
		return fault.ExitUsage
	}
	return fault.ExitFailed
}

// result is what a request came to, when there was no error.
type result struct {
	body []byte
	once bool // it may be another the next time
}

// answer writes what a request came to.
func answer(w io.Writer, r result, err error) error {
	kind, body := byte(answerOK), r.body
	if r.once {
		kind = answerOnce
	}
	if err != nil {
		kind = answerFailed
		body, _ = json.Marshal(failure{err.Error(), fault.Hint(err), fault.Code(err)}) // strings and a number
	}
	header := binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(body)))
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// errNoAnswer is the answer of a process that is gone.
var errNoAnswer = errors.New("it gave no answer")

// readAnswer reads what answer wrote. Its error is what the request came to, or
// errNoAnswer.
func readAnswer(r io.Reader) (result, error) {
	var header [answerHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return result{}, errNoAnswer
	}
	size := binary.BigEndian.Uint64(header[1:])
	if size > maxBody {
		return result{}, fmt.Errorf("its answer has %d bytes, more than %d", size, maxBody)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return result{}, errNoAnswer
	}
	switch header[0] {
	case answerOK:
		return result{body: body}, nil
	case answerOnce:
		return result{body, true}, nil
	case answerFailed:
		f := &failure{}
		if err := json.Unmarshal(body, f); err != nil {
			return result{}, fmt.Errorf("its answer cannot be read: %w", err)
		}
		f.Message, f.Advice = ci.Printable(f.Message), ci.Printable(f.Advice) // they quote the image, and are one line each
		return result{}, f
	}
	return result{}, errors.New("its answer cannot be read")
}
