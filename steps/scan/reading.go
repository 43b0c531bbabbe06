package scan

import (
	"context"
	"log/slog"
	"sync"

	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/steps/scan/parser"
)

// reading is the parser, started when it is first needed: for an image of which
// everything is known, it is not.
type reading struct {
	ctx     context.Context // of the scan: it bounds the parser's life, whoever needs it first
	options parser.Options
	log     *slog.Logger

	mu      sync.Mutex
	process *parser.Process
}

// parser returns the parser, which is confined as well as can be; what is missing
// has been said in one line.
func (r *reading) parser(ctx context.Context) (*parser.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		return r.process, nil
	}
	p, err := parser.Start(r.ctx, r.options)
	if err != nil {
		return nil, err
	}
	r.process = p // closed in any case
	status, err := p.Status(ctx)
	if err == nil && status.Warning() != "" {
		r.log.Warn(status.Warning())
	}
	return p, err
}

// started tells whether the parser was needed so far.
func (r *reading) started() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process != nil
}

// render returns a report as an SBOM.
func (r *reading) render(ctx context.Context, format string, report types.Report) ([]byte, error) {
	p, err := r.parser(ctx)
	if err != nil {
		return nil, err
	}
	return p.Render(ctx, format, report)
}

func (r *reading) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return nil
	}
	return r.process.Close()
}
