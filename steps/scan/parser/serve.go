package parser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/analysis"
	"github.com/imagewright/imagewright/steps/scan/bom"
	"github.com/imagewright/imagewright/steps/scan/detection"
	"github.com/imagewright/imagewright/steps/scan/javaindex"
	"github.com/imagewright/imagewright/steps/scan/secret"
)

// reader is what the parser has read so far.
type reader struct {
	options analysis.Options
	secrets *secret.Scanner // nil: they are not looked for

	mu       sync.Mutex
	layers   map[v1.Hash]*analysis.Result
	database *detection.Database
	index    *javaindex.Index
}

func newReader(r Rules) (*reader, error) {
	x := &reader{
		options: analysis.Options{SkipDirs: r.SkipDirs, SkipFiles: r.SkipFiles},
		layers:  map[v1.Hash]*analysis.Result{},
	}
	if r.Secrets {
		var err error
		if x.secrets, err = secret.New(secret.Options{Config: r.SecretConfig}); err != nil {
			return nil, fault.Usage(fmt.Errorf("input secret-config: %w", err), "see Trivy's documentation of trivy-secret.yaml for what is accepted")
		}
		x.options.Secrets = x.secrets
	}
	return x, nil
}

// serve answers one request; files are what came with it, the answer's place
// first. What it parses comes from strangers, so a panic is an answer too.
func (x *reader) serve(ctx context.Context, req request, files []*os.File) {
	defer closeAll(files)
	if len(files) == 0 {
		return // nowhere to say anything
	}
	to, files := files[0], files[1:]
	r, err := x.safely(ctx, req, files)
	_ = answer(to, r, err) // who asked is gone, or reads until the end
}

func (x *reader) safely(ctx context.Context, req request, files []*os.File) (r result, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fault.Failed(fmt.Errorf("no verdict: reading the image broke the scanner: %v", broken), "this is a bug; please report it")
		}
	}()
	var document []byte
	if req.Body {
		if len(files) == 0 {
			return r, errors.New("a request without its body")
		}
		if document, err = readAll(files[0]); err != nil {
			return r, err
		}
		files = files[1:]
	}
	switch req.Do {
	case doInspect:
		return answerTo(ctx, document, x.inspect)
	case doRender:
		return answerTo(ctx, document, func(ctx context.Context, r types.Report) (json.RawMessage, error) {
			return bom.Render(ctx, req.Form, r)
		})
	}
	if len(files) == 0 {
		return r, fmt.Errorf("request %q without its content", req.Do)
	}
	switch req.Do {
	case doLayer:
		return x.layer(ctx, req, files[0])
	case doKnown:
		return r, x.known(req.ID, files[0])
	case doDatabase:
		return r, x.openDatabase(files[0], req.Path)
	case doIndex:
		return r, x.openIndex(files[0], req.Path)
	}
	return r, fmt.Errorf("request %q is not known", req.Do)
}

// answerTo decodes a document, does what is asked with it, and encodes the
// answer.
func answerTo[In, Out any](ctx context.Context, document []byte, do func(context.Context, In) (Out, error)) (result, error) {
	var in In
	if err := json.Unmarshal(document, &in); err != nil {
		return result{}, err
	}
	out, err := do(ctx, in)
	if err != nil {
		return result{}, err
	}
	if raw, ok := any(out).(json.RawMessage); ok {
		return result{body: raw}, nil // a document already, and perhaps not JSON
	}
	body, err := json.Marshal(out)
	return result{body: body}, err
}

func readAll(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxBody+1))
	if err == nil && len(data) > maxBody {
		err = fmt.Errorf("document is larger than %d bytes", maxBody)
	}
	return data, err
}

// layer reads a layer and keeps what is in it.
func (x *reader) layer(ctx context.Context, req request, content *os.File) (result, error) {
	if req.Blob == nil {
		return result{}, errors.New("a layer without its name")
	}
	var from io.Reader = content
	if req.Span != nil {
		from = io.NewSectionReader(content, req.Span.Offset, req.Span.Size)
	}
	tar, err := image.Unpack(io.NopCloser(from), req.Blob.Descriptor, req.Blob.DiffID)
	if err != nil {
		return result{}, err
	}
	defer tar.Close()
	options := x.options
	options.Limits.Bytes = image.MaxUnpacked(req.Blob.Descriptor.Size, maxLayer)
	found, err := analysis.Layer(ctx, analysis.Input{DiffID: req.Blob.DiffID, Tar: tar, Verified: true}, options)
	if err != nil {
		return result{}, err
	}
	x.keep(found)
	body, err := json.Marshal(found)
	// A problem can be a full disk.
	return result{body, len(found.Problems) > 0}, err
}

// known keeps what an earlier process found in a layer.
func (x *reader) known(id string, content *os.File) error {
	data, err := readAll(content)
	if err != nil {
		return err
	}
	var found analysis.Result
	if err := json.Unmarshal(data, &found); err != nil {
		return err
	}
	if found.DiffID.String() != id || found.Version != analysis.Version {
		return fmt.Errorf("it is about layer %s, by version %d", found.DiffID, found.Version)
	}
	x.keep(&found)
	return nil
}

func (x *reader) keep(r *analysis.Result) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.layers[r.DiffID] = r
}

// openDatabase makes f, which errors call path, the vulnerability database, in
// place of one before.
func (x *reader) openDatabase(f *os.File, path string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.database != nil {
		if err := x.database.Close(); err != nil {
			return err
		}
		x.database = nil
	}
	own, err := duplicate(f, path)
	if err != nil {
		return err
	}
	defer own.Close()
	db, err := detection.OpenFile(own)
	if err != nil {
		return err
	}
	x.database = db
	return nil
}

// openIndex makes f the index of Maven Central, in place of one before.
func (x *reader) openIndex(f *os.File, path string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.index != nil {
		if err := x.index.Close(); err != nil {
			return err
		}
		x.index = nil
	}
	own, err := duplicate(f, path)
	if err != nil {
		return err
	}
	index, err := javaindex.Open(own)
	if err != nil {
		return errors.Join(err, own.Close())
	}
	x.index = index
	return nil
}

// inspect joins the layers of an image and looks up what they hold.
func (x *reader) inspect(ctx context.Context, img Image) (*Report, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(img.Config))
	if err != nil {
		return nil, fmt.Errorf("configuration of the image: %w", err)
	}
	layers := make([]*analysis.Result, len(config.RootFS.DiffIDs))
	x.mu.Lock()
	for i, id := range config.RootFS.DiffIDs {
		layers[i] = x.layers[id]
	}
	index := x.index
	x.mu.Unlock()
	for i, l := range layers {
		if l == nil {
			return nil, fmt.Errorf("layer %s was not read", config.RootFS.DiffIDs[i])
		}
	}
	needsIndex := index == nil && analysis.NeedsIndex(layers)
	if index != nil {
		if layers, err = analysis.Identify(ctx, layers, index); err != nil {
			return nil, err
		}
	}
	if img.MadeUp {
		for i, id := range config.RootFS.DiffIDs {
			if i < len(img.Layers) && img.Layers[i].Digest == id {
				img.Layers[i].Digest = v1.Hash{} // a layer as it was saved has no digest in any registry
			}
		}
	}
	detail, err := analysis.Merge(layers, config, img.Layers)
	if err != nil {
		return nil, err
	}
	r, err := x.report(ctx, img, detail)
	if err != nil {
		return nil, err
	}
	r.NeedsIndex = needsIndex
	return r, nil
}
