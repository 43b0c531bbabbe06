package step

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/imagewright/imagewright/internal/ci"
)

// newLogger logs lines for people: the message, then what belongs to it as
// name=value. CI systems put the time before each line themselves.
func newLogger(w io.Writer, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	return slog.New(&handler{w: w, mu: &sync.Mutex{}, least: least})
}

type handler struct {
	w     io.Writer
	mu    *sync.Mutex
	least slog.Level
	group string // with a dot at its end
	attrs string
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.least }

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	if r.Level != slog.LevelInfo {
		fmt.Fprintf(&line, "%s: ", strings.ToLower(r.Level.String()))
	}
	line.WriteString(ci.Printable(r.Message))
	line.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&line, h.group, a)
		return true
	})
	line.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, line.String())
	return err
}

func appendAttr(line *strings.Builder, group string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range value.Group() {
			appendAttr(line, group, inner)
		}
		return
	}
	text := value.String()
	if text == "" || strings.ContainsAny(text, " \"=") || ci.Printable(text) != text {
		text = ci.Printable(strconv.Quote(text)) // a quoted "##[" is a command to GitHub all the same
	}
	fmt.Fprintf(line, " %s%s=%s", group, a.Key, text)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var line strings.Builder
	line.WriteString(h.attrs)
	for _, a := range attrs {
		appendAttr(&line, h.group, a)
	}
	with := *h
	with.attrs = line.String()
	return &with
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	with.group += name + "."
	return &with
}
