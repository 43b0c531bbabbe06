package parser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/image"
)

// Layer has the parser read a layer, which comes from l, and returns what is in
// it: an answer that [Process.Known] understands in later processes too, and
// nobody else needs to; it is empty when it may be another the next time.
func (p *Process) Layer(ctx context.Context, l v1.Layer, b Blob) ([]byte, error) {
	raw, part, err := image.Raw(l)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	if part.File != nil {
		return p.File(ctx, part, b)
	}
	body, err := p.stream(ctx, raw, b)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", b.Descriptor.Digest, err)
	}
	return body, nil
}

// File is Layer for a layer whose blob lies in a file.
func (p *Process) File(ctx context.Context, part image.Span, b Blob) ([]byte, error) {
	return lasting(p.call(ctx, request{Do: doLayer, Blob: &b, Span: &span{part.Offset, part.Size}}, nil, part.File))
}

// lasting returns the answer that can be kept.
func lasting(r result, err error) ([]byte, error) {
	if err != nil || r.once {
		return nil, err
	}
	return r.body, nil
}

// stream is Layer for a blob that is being fetched.
func (p *Process) stream(ctx context.Context, raw io.Reader, b Blob) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// The parser has a copy of r, and need not read it to its end.
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer stop()
	fetched := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, raw)
		w.Close()
		fetched <- err
	}()
	body, err := lasting(p.call(ctx, request{Do: doLayer, Blob: &b}, nil, r))
	r.Close() // who fetches for nobody stops
	if cause := <-fetched; cause != nil && err != nil && ctx.Err() == nil && !errors.Is(cause, errBrokenPipe) {
		return nil, cause // what the parser says of a cut layer follows from it
	}
	return body, err
}

// Known hands the parser what Layer returned for the layer earlier. An error
// says that it is of no use: have the layer read.
func (p *Process) Known(ctx context.Context, diffID v1.Hash, answer *os.File) error {
	_, err := p.call(ctx, request{Do: doKnown, ID: diffID.String()}, nil, answer)
	return err
}

// OpenDatabase opens the vulnerability database, in place of one opened before.
// Its errors are those of detection.Open.
func (p *Process) OpenDatabase(ctx context.Context, db *os.File) error {
	_, err := p.call(ctx, request{Do: doDatabase, Path: db.Name()}, nil, db)
	return err
}

// OpenIndex opens the index of Maven Central, which tells what a Java archive
// is that does not say so itself, in place of one opened before.
func (p *Process) OpenIndex(ctx context.Context, index *os.File) error {
	_, err := p.call(ctx, request{Do: doIndex, Path: index.Name()}, nil, index)
	return err
}

// Inspect joins the layers of an image, which the parser must have, and returns
// what it holds.
func (p *Process) Inspect(ctx context.Context, img Image) (*Report, error) {
	answer, err := p.call(ctx, request{Do: doInspect, Body: true}, img, nil)
	if err != nil {
		return nil, err
	}
	r := &Report{Answer: answer.body}
	if err := json.Unmarshal(answer.body, r); err != nil {
		return nil, fmt.Errorf("what the image holds: %w", err)
	}
	return r, nil
}

// Render returns a report as an SBOM; see bom.Render for the formats.
func (p *Process) Render(ctx context.Context, format string, r types.Report) ([]byte, error) {
	answer, err := p.call(ctx, request{Do: doRender, Body: true, Form: format}, r, nil)
	return answer.body, err
}

// call sends a request and waits for its answer. body, if not nil, is sent as
// JSON; content, if not nil, goes along as it is and stays the caller's.
func (p *Process) call(ctx context.Context, req request, body any, content *os.File) (result, error) {
	if _, err := p.Status(ctx); err != nil {
		return result{}, err
	}
	return p.ask(ctx, req, body, content)
}

// ask is call of a parser that may not be ready.
func (p *Process) ask(ctx context.Context, req request, body any, content *os.File) (result, error) {
	answers, to, err := os.Pipe()
	if err != nil {
		return result{}, err
	}
	defer answers.Close()
	stop := context.AfterFunc(ctx, func() { answers.SetReadDeadline(time.Now()) })
	defer stop()
	files := []*os.File{to}
	if body != nil {
		document, err := sendJSON(body)
		if err != nil {
			return result{}, errors.Join(err, to.Close())
		}
		defer document.Close()
		files = append(files, document)
	}
	if content != nil {
		files = append(files, content)
	}
	err = p.socket.send(req, files)
	to.Close() // else the end of the parser would not be the end of its answer
	if err != nil {
		return result{}, p.gone(err)
	}
	answer, err := readAnswer(answers)
	switch {
	case ctx.Err() != nil:
		return result{}, context.Cause(ctx)
	case errors.Is(err, errNoAnswer):
		return result{}, p.gone(err)
	}
	return answer, err
}

// sendJSON returns a file to read v from, as JSON. Who reads it no further makes
// the writing end.
func sendJSON(v any) (*os.File, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		w.Write(data) // fails when the parser is gone, which its answer tells
		w.Close()
	}()
	return r, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
