package scan

import (
	"context"
	"log/slog"
)

// quiet makes Trivy's packages, which log to slog's default logger, log to log:
// warnings and errors only. What they tell beside is in the reports.
func quiet(log *slog.Logger) { slog.SetDefault(slog.New(warnings{log.Handler()})) }

// warnings drops what is less than a warning.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
