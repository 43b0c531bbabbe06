package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/sirupsen/logrus"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/step"
)

// solve builds p into layout and returns the exporter's answer. watch is given
// the build's progress and returns at its end.
func solve(ctx context.Context, job *step.Job, c *client.Client, p *plan, attachables []session.Attachable, layout *image.Layout, watch func(<-chan *client.SolveStatus)) (map[string]string, error) {
	defer job.Group("Build")()
	// BuildKit's client and its stores log to a logger of the process.
	logrus.SetOutput(debugLog{job.Log})
	store := buildkit.LayoutStore(layout)
	statuses := make(chan *client.SolveStatus)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(statuses)
	}()
	response, err := c.Solve(ctx, nil, client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: p.attrs,
		LocalMounts:   p.mounts,
		OCIStores:     p.stores,
		SharedKey:     p.sharedKey(),
		Session:       attachables,
		CacheImports:  p.cacheFrom,
		CacheExports:  p.cacheTo,
		// Not in the engine's history: that keeps what steps print, and with it a
		// secret that one of them printed.
		Internal: true,
		Exports: []client.ExportEntry{{
			Type: client.ExporterOCI,
			Attrs: map[string]string{
				"tar":               "false", // blob by blob: what is there is not written again
				"oci-mediatypes":    "true",
				"source-date-epoch": strconv.FormatInt(p.date.Unix(), 10),
			},
			OutputStore: store,
		}},
	}, statuses)
	<-watched // closed by Solve
	if err != nil {
		if written := store.Err(); written != nil && ctx.Err() == nil {
			return nil, &layoutFailure{written, job.Rel(layout.Dir())}
		}
		return nil, err
	}
	return response.ExporterResponse, nil
}

// debugLog takes lines of another logger.
type debugLog struct{ to *slog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.to.Debug(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// layoutFailure is an image that was built and could not be written.
type layoutFailure struct {
	cause error
	dir   string
}

func (e *layoutFailure) Error() string {
	return fmt.Sprintf("write the image to %s: %v", e.dir, e.cause)
}

// Unwrap returns the cause.
func (e *layoutFailure) Unwrap() error { return e.cause }

// ExitCode is that of a failure.
func (e *layoutFailure) ExitCode() int { return fault.ExitFailed }

// Hint says what helps.
func (e *layoutFailure) Hint() string {
	if errors.Is(e.cause, syscall.ENOSPC) || errors.Is(e.cause, syscall.EDQUOT) {
		return "free some space there, or set dir to a larger disk"
	}
	return ""
}

func layoutError(err error) error {
	if failed, ok := errors.AsType[*layoutFailure](err); ok {
		return failed
	}
	return nil
}

// explainUnless explains err, unless the build was told to stop: then that is
// the reason.
func explainUnless(ctx context.Context, err error, p *plan, w *watcher) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return explain(err, p.dockerfile, w)
}

// engineLoss is err of closing the engine after a build that failed: what the
// engine died of is worth a line then.
func engineLoss(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("and then: %w", err)
}
