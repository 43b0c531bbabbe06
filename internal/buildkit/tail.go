package buildkit

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"time"
)

const (
	logName = "engine.log" // in the state; begun anew by every engine

	maxTail = 32 << 10 // bytes of the engine's log shown when it dies
	maxLine = 8 << 10  // bytes after which a line is broken
	maxLog  = 16 << 20 // bytes after which the engine begins its log anew

	followPoll = 100 * time.Millisecond
)

// journal is the engine's log, as one program reads it: from where it was when
// the program came. It is a file and not a pipe, so that it and the engine
// survive the program that started them.
type journal struct {
	file *os.File
	from int64
}

// newJournal takes over file; whence says where to begin.
func newJournal(file *os.File, whence int) (*journal, error) {
	from, err := file.Seek(0, whence)
	return &journal{file, from}, err
}

// tail returns the end of the log.
func (j *journal) tail() string {
	end, err := j.file.Seek(0, io.SeekEnd)
	if err != nil || j.from > end {
		return "" // it was begun anew
	}
	from := max(j.from, end-maxTail)
	b, _ := io.ReadAll(io.NewSectionReader(j.file, from, end-from)) // what can be read is enough
	return string(b)
}

// follow writes lines to log, at debug level, as they come, until ctx ends; then
// it closes done.
func (j *journal) follow(ctx context.Context, log *slog.Logger, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	for at, last := j.from, false; ; {
		at = j.logLines(at, log)
		if last {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true
		}
	}
}

// logLines logs what is new since at, and returns where it stopped.
func (j *journal) logLines(at int64, log *slog.Logger) int64 {
	if fi, err := j.file.Stat(); err == nil && fi.Size() < at {
		at = 0 // begun anew
	}
	r := bufio.NewReaderSize(io.NewSectionReader(j.file, at, maxLog), maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return at // half a line waits for its end
		}
		if len(line) == 0 {
			return at
		}
		at += int64(len(line))
		log.LogAttrs(context.Background(), slog.LevelDebug, "engine", slog.String("line", string(bytes.TrimSuffix(line, []byte("\n")))))
	}
}

// boundedLog is the engine's side: an engine that serves for weeks must not fill
// the disk with its log.
type boundedLog struct{ file *os.File }

// Write implements io.Writer.
func (b boundedLog) Write(p []byte) (int, error) {
	if fi, err := b.file.Stat(); err == nil && fi.Mode().IsRegular() && fi.Size() > maxLog {
		b.file.Truncate(0) // opened to append
	}
	return b.file.Write(p)
}
