package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/imagewright/imagewright/internal/fault"
)

// maxDockerfileBytes is far above any Dockerfile; BuildKit has such a bound too.
const maxDockerfileBytes = 4 << 20

// dockerfile is a Dockerfile read before any engine starts, so that a mistake
// in it costs milliseconds.
type dockerfile struct {
	Path   string                    // absolute; of a remote one, in its context; empty for one on standard input
	Shown  string                    // for people and annotations: relative to the checkout where it is in it
	Remote bool                      // only the builder can read it: nothing below is known
	Stages []instructions.Stage      // none when only the frontend that it names can tell
	args   []instructions.ArgCommand // before the first FROM
	data   []byte
	inline bool // it is data, and no file here
}

// findDockerfile returns the Dockerfile's path: file, else Dockerfile (or, as
// Docker has it, dockerfile) in the context.
func findDockerfile(file, contextDir string, abs func(string) string) (string, error) {
	if file != "" {
		path := abs(file)
		return path, regularFile(path)
	}
	path := filepath.Join(contextDir, "Dockerfile")
	err := regularFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if lower := filepath.Join(contextDir, "dockerfile"); regularFile(lower) == nil {
			return lower, nil
		}
	}
	return path, err
}

func regularFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	return err
}

// readDockerfile parses the Dockerfile at path and checks that it has target.
func readDockerfile(path, shown, target string) (dockerfile, error) {
	d := dockerfile{Path: path, Shown: shown}
	f, err := os.Open(path)
	if err != nil {
		return d, fault.Usage(err, "")
	}
	defer f.Close()
	text, err := readDockerfileText(f, shown)
	if err != nil {
		return d, err
	}
	return d, d.read(text, target)
}

// readDockerfileText reads what is shown as that name.
func readDockerfileText(r io.Reader, shown string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDockerfileBytes+1))
	if err != nil {
		return nil, fault.Failed(fmt.Errorf("read %s: %w", shown, err), "")
	}
	if len(text) > maxDockerfileBytes {
		return nil, fault.Usage(fmt.Errorf("%s has more than %d MiB; that is no Dockerfile", shown, maxDockerfileBytes>>20), "")
	}
	return text, nil
}

// read parses text and checks that it has target.
func (d *dockerfile) read(text []byte, target string) error {
	d.data = text
	err := d.parse(text)
	if _, _, _, foreign := parser.DetectSyntax(text); err != nil && foreign {
		return nil // another frontend may well understand it
	}
	if err != nil {
		return syntaxError(d.Shown, err)
	}
	if len(d.Stages) == 0 {
		return fault.Usage(fmt.Errorf("%s: it has no FROM", d.Shown), "")
	}
	if target != "" {
		if _, ok := instructions.HasStage(d.Stages, target); !ok {
			return fault.Usage(fmt.Errorf("input target: %s has no stage %q", d.Shown, target), stageNames(d.Stages))
		}
	}
	return nil
}

// filename is what the frontend is told: a name in the directory it is handed,
// or a path in a context that only the builder sees.
func (d *dockerfile) filename() string {
	switch {
	case d.Remote:
		return d.Path
	case d.inline:
		return "Dockerfile"
	}
	return filepath.Base(d.Path)
}

func (d *dockerfile) parse(data []byte) error {
	ast, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return err
	}
	d.Stages, d.args, err = instructions.Parse(ast.AST, nil)
	return err
}

// declares tells whether some stage has an ARG of that name.
func (d *dockerfile) declares(name string) bool {
	has := func(arg *instructions.ArgCommand) bool {
		return slices.ContainsFunc(arg.Args, func(a instructions.KeyValuePairOptional) bool { return a.Key == name })
	}
	for i := range d.args {
		if has(&d.args[i]) {
			return true
		}
	}
	for _, stage := range d.Stages {
		for _, command := range stage.Commands {
			if arg, ok := command.(*instructions.ArgCommand); ok && has(arg) {
				return true
			}
		}
	}
	return false
}

// source is a line of the Dockerfile in BuildKit's terms.
func (d *dockerfile) source(line int) *errdefs.Source {
	at := &pb.Position{Line: int32(line)}
	return &errdefs.Source{
		Info:   &pb.SourceInfo{Filename: d.Shown, Data: d.data},
		Ranges: []*pb.Range{{Start: at, End: at}},
	}
}

func stageNames(stages []instructions.Stage) string {
	var names []string
	for _, s := range stages {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	if names == nil {
		return "no stage of it has a name; name one with FROM … AS NAME"
	}
	return "its stages are " + strings.Join(names, ", ")
}

// badDockerfile is a mistake in the Dockerfile.
type badDockerfile struct {
	File          string
	Line, EndLine int // 0 when unknown
	Message       string
}

// Error implements error.
func (e *badDockerfile) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// ExitCode makes it bad input.
func (e *badDockerfile) ExitCode() int { return fault.ExitUsage }

// Hint is empty: the message says it all.
func (e *badDockerfile) Hint() string { return "" }

// syntaxError is err of BuildKit's parser with its place in front.
func syntaxError(shown string, err error) error {
	bad := &badDockerfile{File: shown, Message: err.Error()}
	if located, ok := errors.AsType[*parser.LocationError](err); ok && len(located.Locations) > 0 && len(located.Locations[0]) > 0 {
		where := located.Locations[0][0]
		bad.Line, bad.EndLine = where.Start.Line, where.End.Line
		bad.Message = located.Unwrap().Error()
	}
	// "dockerfile parse error on line 3: " says again what stands in front.
	if _, message, ok := strings.Cut(bad.Message, fmt.Sprintf("parse error on line %d: ", bad.Line)); ok {
		bad.Message = message
	}
	return bad
}
