package buildkit

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

const (
	maxTail = 32 << 10 // bytes of the engine's log kept for the day it dies
	maxLine = 8 << 10  // bytes after which a line is broken
)

// tail is where the engine's log goes: whole lines to a logger at debug level,
// and the last of it kept.
type tail struct {
	log *slog.Logger

	mu   sync.Mutex
	kept []byte
	line []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	t.line = append(t.line, p...)
	for {
		line, rest, ended := bytes.Cut(t.line, []byte("\n"))
		if !ended && len(line) < maxLine {
			return len(p), nil
		}
		if !ended {
			line, rest = line[:maxLine], line[maxLine:]
		}
		t.log.LogAttrs(context.Background(), slog.LevelDebug, "engine", slog.String("line", string(line)))
		t.line = bytes.Clone(rest)
	}
}

// String returns the end of the log.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
