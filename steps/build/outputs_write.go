package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"
	"golang.org/x/term"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/step"
)

// exports are the outputs that BuildKit makes while it builds, dated date. It is
// called once, before the build and also where there are none; then either write
// or discard must follow. stdout is the job's.
func (o *outputs) exports(date time.Time, stdout io.Writer) ([]client.ExportEntry, error) {
	o.stdout = stdout
	if file := step.Terminal(stdout); file != nil && o.toStdout() {
		if term.IsTerminal(int(file.Fd())) {
			return nil, fault.Usage(errors.New("input outputs: an archive is not for a terminal"), "send standard output to a file or a program")
		}
		o.stdout = file // masking would change bytes of the archive
	}
	var entries []client.ExportEntry
	for _, out := range o.all {
		if out.kind != "local" && out.kind != "tar" {
			continue
		}
		entry := client.ExportEntry{Type: out.kind, Attrs: map[string]string{"source-date-epoch": strconv.FormatInt(date.Unix(), 10)}}
		for key, value := range out.attrs {
			entry.Attrs[key] = value
		}
		if out.isDir {
			if err := o.mkdir(out.dest); err != nil { // BuildKit's would be the user's alone
				return nil, fmt.Errorf("input outputs: %w", err)
			}
			entry.OutputDir = out.dest
		} else {
			entry.Output = o.archive(out)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// archive is where BuildKit writes the archive of files that out is.
func (o *outputs) archive(out output) func(map[string]string) (io.WriteCloser, error) {
	return func(map[string]string) (io.WriteCloser, error) {
		if out.dest == standardOutput {
			return unclosed{o.stdout}, nil
		}
		o.mu.Lock() // BuildKit runs its exporters at once
		defer o.mu.Unlock()
		if err := o.mkdir(filepath.Dir(out.dest)); err != nil {
			return nil, err
		}
		tar := newPartialTar(out.dest)
		o.partial = append(o.partial, tar)
		return tar, nil
	}
}

// unclosed is a writer that others still need.
type unclosed struct{ io.Writer }

// Close implements io.Closer.
func (unclosed) Close() error { return nil }

// partialTar is a file that gets its name when it is kept. BuildKit closes it
// also where the build fails in the middle.
type partialTar struct {
	unclosed
	pipe *io.PipeWriter
	done chan error
}

func newPartialTar(path string) *partialTar {
	reader, writer := io.Pipe()
	p := &partialTar{unclosed{writer}, writer, make(chan error, 1)}
	go func() {
		err := durable.WriteFile(path, 0o644, func(w io.Writer) error {
			_, err := io.Copy(w, reader)
			return err
		})
		reader.CloseWithError(err) // nobody reads on: the other side must not wait
		p.done <- err
	}()
	return p
}

// end keeps the file if why is nil.
func (p *partialTar) end(why error) error {
	p.pipe.CloseWithError(why)
	return <-p.done
}

// discard drops what is not finished. After write there is nothing to drop.
func (o *outputs) discard() {
	for _, p := range o.partial {
		p.end(errors.New("the build failed")) //nolint:errcheck // it returns that error
	}
	o.partial = nil
}

// write finishes the outputs: the image root of layout is built. Every file
// appears whole or not at all.
func (o *outputs) write(ctx context.Context, layout *image.Layout, root v1.Descriptor) error {
	for len(o.partial) > 0 {
		p := o.partial[0]
		o.partial = o.partial[1:]
		if err := p.end(nil); err != nil {
			return fmt.Errorf("output: %w", err)
		}
	}
	for _, out := range o.all {
		if out.kind != "docker" && out.kind != "oci" {
			continue
		}
		if err := o.writeImage(ctx, layout, root, out); err != nil {
			return fmt.Errorf("output of type %s: %w", out.kind, err)
		}
	}
	return o.removeOldLoad()
}

// removeOldLoad takes an archive away that an earlier build was asked to load:
// this build's image is another.
func (o *outputs) removeOldLoad() error {
	path := filepath.Join(o.workspace, loadFile)
	if slices.ContainsFunc(o.all, func(out output) bool { return out.dest == path }) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (o *outputs) writeImage(ctx context.Context, layout *image.Layout, root v1.Descriptor, out output) error {
	content, err := newArchived(layout, root, out)
	if err != nil {
		return err
	}
	if out.dest == standardOutput {
		return content.writeTar(ctx, o.stdout)
	}
	if err := o.mkdir(filepath.Dir(out.dest)); err != nil {
		return err
	}
	if out.isDir {
		return content.writeLayout(ctx, out.dest)
	}
	return durable.WriteFile(out.dest, 0o644, func(w io.Writer) error { return content.writeTar(ctx, w) })
}

// mkdir makes dir, and remembers the uppermost directory that it had to make.
func (o *outputs) mkdir(dir string) error {
	top := ""
	for p := dir; p != filepath.Dir(p); p = filepath.Dir(p) {
		if _, err := os.Lstat(p); err == nil {
			break
		}
		top = p
	}
	if top != "" {
		o.made = append(o.made, top)
	}
	return os.MkdirAll(dir, 0o755)
}

// handOver calls give for all that the outputs made; see [step.Job.HandOver].
func (o *outputs) handOver(give func(path string) error) error {
	var all error
	for _, path := range o.made {
		all = errors.Join(all, give(path))
	}
	for _, out := range o.all {
		if out.dest != standardOutput {
			all = errors.Join(all, give(out.dest))
		}
	}
	return all
}
