package analysis

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/secret"
)

// Bounds of one file given to a parser, bytes.
const (
	defaultMaxFile       = 64 << 20 // the dpkg status of a full desktop is 10 MB
	defaultMaxExecutable = 4 << 30  // spooled to disk, never in memory
	defaultMaxArchive    = 2 << 30
)

// maxProblems bounds the problems of a layer. One is enough for no verdict.
const maxProblems = 10_000

// maxReason bounds a problem's text (bytes): parsers quote what they read.
const maxReason = 500

// layer collects what one walk finds.
type layer struct {
	opts   Options
	result Result
	dpkg   dpkgFiles
	apps   map[appKey]int // places in result.Applications
	cargo  cargoFiles
	julia  juliaFiles

	listing    listing         // what the package managers list, counted
	packages   int             // of languages
	installed  map[string]bool // files the package managers put there
	copyrights map[string]int  // places in result.Copyrights, by path
	parsed     map[string]bool // result.Parsed
	noted      map[SensitiveFile]bool
	paths      []uint64        // hashes of those of all files
	secrets    *secret.Session // nil: they are not looked for
	buf        []byte          // the file being parsed
}

func newLayer(ctx context.Context, opts Options) *layer {
	opts.MaxFile = cmp.Or(opts.MaxFile, defaultMaxFile)
	opts.MaxExecutable = cmp.Or(opts.MaxExecutable, defaultMaxExecutable)
	opts.MaxArchive = cmp.Or(opts.MaxArchive, defaultMaxArchive)
	l := &layer{
		opts:       opts,
		result:     Result{Version: Version},
		dpkg:       newDpkgFiles(),
		installed:  map[string]bool{},
		copyrights: map[string]int{},
		parsed:     map[string]bool{},
		noted:      map[SensitiveFile]bool{},
	}
	if opts.Secrets != nil {
		l.secrets = opts.Secrets.Session(ctx)
	}
	return l
}

// An analyzer is one parser and the files it wants.
type analyzer struct {
	name  string
	limit int64
	parse func(ctx context.Context, path string, c *content) error
}

// entry takes one entry of the layer's tar. Links are left alone: a link has no
// content of its own, and what it points to may be in another layer.
func (l *layer) entry(ctx context.Context, e image.Entry, r io.Reader) error {
	switch e.Kind {
	case image.Whiteout, image.Opaque, image.Dir:
	default:
		l.paths = append(l.paths, hashPath(e.Path))
	}
	switch e.Kind {
	case image.Whiteout:
		l.result.Whiteouts = append(l.result.Whiteouts, e.Path)
	case image.Opaque:
		dir := e.Path
		if dir == "." {
			dir = ""
		}
		l.result.OpaqueDirs = append(l.result.OpaqueDirs, dir)
	case image.File:
		if l.opts.skipped(e.Path) {
			return nil
		}
		if err := l.file(ctx, e, r); err != nil {
			return err
		}
		return l.checkCount()
	}
	return nil
}

// checkCount ends a layer in which there is more than in any image: all of it
// takes memory, here and wherever the result is read.
func (l *layer) checkCount() error {
	if l.packages > maxPackages {
		return fmt.Errorf("%w: more than %d packages", errListing, maxPackages)
	}
	if n := len(l.result.Problems); n > maxProblems {
		return fmt.Errorf("more than %d files cannot be read, the last of them %s", maxProblems, l.result.Problems[n-1])
	}
	return nil
}

func (l *layer) file(ctx context.Context, e image.Entry, r io.Reader) error {
	wanted, r, err := l.wanted(e, r)
	if err != nil {
		return err
	}
	secrets := l.secrets != nil && l.opts.Secrets.Wants(e.Path, e.Size)
	if len(wanted) == 0 {
		if secrets {
			return l.secrets.Scan(e.Path, r, e.Size)
		}
		return nil
	}
	// One buffer serves all files: fresh memory for each program of a
	// distribution costs more than looking into it.
	if e.Size <= maxInMemory && int64(len(l.buf)) < e.Size {
		l.buf = make([]byte, max(e.Size, min(2*int64(len(l.buf)), maxInMemory)))
	}
	c, err := newContent(r, e.Size, l.opts.TempDir, l.buf)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	defer c.close()
	for _, a := range wanted {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.parse(ctx, a, e.Path, c); err != nil {
			l.problem(Problem{Path: e.Path, Analyzer: a.name}, err)
		}
	}
	if !l.parsed[e.Path] { // a tar may carry a path twice
		l.parsed[e.Path] = true
		l.result.Parsed = append(l.result.Parsed, e.Path)
	}
	if secrets {
		return l.secrets.Scan(e.Path, io.NewSectionReader(c, 0, c.size), c.size)
	}
	return nil
}

// wanted returns who wants the file and can have it, and its content, whose first
// bytes it may have looked at.
func (l *layer) wanted(e image.Entry, r io.Reader) ([]analyzer, io.Reader, error) {
	wanted := l.analyzers(e)
	if executable(e) {
		head := make([]byte, min(e.Size, magicBytes))
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", e.Path, unexpected(err))
		}
		r = io.MultiReader(strings.NewReader(string(head)), r)
		wanted = append(wanted, l.programAnalyzers(head, e.Size)...)
	}
	wanted = slices.DeleteFunc(wanted, func(a analyzer) bool {
		if e.Size <= a.limit {
			return false
		}
		l.problem(Problem{Path: e.Path, Analyzer: a.name}, tooLarge(e.Size, a.limit))
		return true
	})
	return wanted, r, nil
}

// analyzers returns who wants the file, judged by its name and mode.
func (l *layer) analyzers(e image.Entry) []analyzer {
	return slices.Concat(l.systemAnalyzers(e), l.languageAnalyzers(e), l.javaAnalyzers(e), l.sensitive(e))
}

// parse runs one parser. What is parsed comes from strangers, so a parser that
// panics has given up like one that returns an error.
func (l *layer) parse(ctx context.Context, a analyzer, path string, c *content) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser broke off: %v", r)
		}
	}()
	if _, err := c.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return a.parse(ctx, path, c)
}

func (l *layer) problem(p Problem, err error) {
	p.Reason = shorten(err.Error())
	l.result.Problems = append(l.result.Problems, p)
}

func shorten(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

// finish joins what needs the whole layer and returns the result.
func (l *layer) finish() (*Result, error) {
	if l.secrets != nil {
		var err error
		if l.result.Secrets, err = l.secrets.Wait(); err != nil {
			return nil, err
		}
	}
	l.finishSystem()
	l.finishLanguages()
	l.dropInstalled()
	l.result.Files = newPaths(l.paths)
	return &l.result, nil
}

// dropInstalled removes what the distribution's package manager installed: the
// distribution patches it under its own version, and its advisories speak for it.
// Trivy decides this inside each layer, and so does this: a package manager's
// lists from another layer don't count.
func (l *layer) dropInstalled() {
	for _, egg := range []string{ // distroless images no longer list these
		"usr/lib/python2.7/argparse.egg-info",
		"usr/lib/python2.7/lib-dynload/Python-2.7.egg-info",
		"usr/lib/python2.7/wsgiref.egg-info",
	} {
		l.installed[egg] = true
	}
	r := &l.result
	r.Applications = slices.DeleteFunc(r.Applications, func(a ftypes.Application) bool { return l.installed[a.FilePath] })
	for i := range r.Applications {
		a := &r.Applications[i]
		a.Packages = slices.DeleteFunc(a.Packages, func(p ftypes.Package) bool { return l.installed[p.FilePath] })
	}
	r.Unidentified = slices.DeleteFunc(r.Unidentified, func(u Unidentified) bool { return l.installed[u.Path] })
	r.Questions = slices.DeleteFunc(r.Questions, func(q Question) bool { return l.installed[q.Path] || l.installed[q.file()] })
	r.Problems = slices.DeleteFunc(r.Problems, func(p Problem) bool {
		// A list must not vouch for the list of packages itself.
		return ofLanguage(p.Analyzer) && l.installed[p.Path]
	})
}
