// Package analysis finds the packages in an image: layer by layer, then merged.
//
// [Layer] reads one layer and nothing else: no network, no environment, no file
// but its reader and temporary files it unlinks at once. What it returns is
// plain data that survives JSON, so that it can be computed in another process
// and kept by diff ID and [Version]. [Merge] puts the layers of an image
// together, with what later layers delete and replace taken into account.
//
// What is found, and where it is looked for, follows Trivy v0.74.0 in image
// mode. A file that should be understood and is not is a [Problem]: a scan must
// not pass because nobody looked.
package analysis

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/secret"
)

// Version goes up whenever Layer may answer differently for the same bytes.
const Version = 2

// Input is one layer.
type Input struct {
	DiffID v1.Hash   // digest of the uncompressed tar; what is read must have it
	Tar    io.Reader // the uncompressed tar

	// Verified says that Tar itself fails at its end when the digest is
	// another, as the readers of internal/image do; it is then not taken twice.
	Verified bool
}

// Options of Layer. The zero value is what a scan uses.
type Options struct {
	// MaxFile bounds a file that is parsed in memory. Default: 64 MiB.
	MaxFile int64
	// MaxExecutable bounds a program looked into. Default: 4 GiB.
	MaxExecutable int64
	// MaxArchive bounds a Java archive, and all archives inside it together.
	// Default: 2 GiB.
	MaxArchive int64
	// TempDir holds files too large for memory while they are looked into.
	// Default: the system's.
	TempDir string
	// Secrets looks for secrets. Default: nobody does.
	Secrets *secret.Scanner
	// SkipDirs and SkipFiles are globs (doublestar) of what is not looked into,
	// without leading slash.
	SkipDirs, SkipFiles []string
	// Limits of the walk itself; see [image.Limits].
	Limits image.Limits
}

// Result is what one layer holds. Paths have no leading slash.
type Result struct {
	Version int     `json:"version"`
	DiffID  v1.Hash `json:"diffID"`
	Size    int64   `json:"size"` // of the uncompressed tar, bytes

	// OS are all signs of a distribution, one a file, in the order of the tar.
	OS           []OSCandidate        `json:"os,omitempty"`
	Repository   *ftypes.Repository   `json:"repository,omitempty"`
	BuildInfo    *ftypes.BuildInfo    `json:"buildInfo,omitempty"`  // Red Hat's
	Copyrights   []Copyright          `json:"copyrights,omitempty"` // Debian's
	Packages     []ftypes.PackageInfo `json:"packages,omitempty"`
	Applications []ftypes.Application `json:"applications,omitempty"`
	Questions    []Question           `json:"questions,omitempty"` // see Identify
	Unidentified []Unidentified       `json:"unidentified,omitempty"`
	Problems     []Problem            `json:"problems,omitempty"`

	Secrets   []ftypes.Secret `json:"secrets,omitempty"`
	Sensitive []SensitiveFile `json:"sensitive,omitempty"`
	Files     paths           `json:"files,omitempty"` // all but directories

	// Parsed are the files a parser took, whether it found anything or not: a
	// problem with a file is over when a later layer has a readable one there.
	Parsed []string `json:"parsed,omitempty"`

	Whiteouts  []string `json:"whiteouts,omitempty"`  // deleted by this layer
	OpaqueDirs []string `json:"opaqueDirs,omitempty"` // emptied by this layer; "" is the root
}

// OSCandidate is a file that says, alone, which distribution this is.
type OSCandidate struct {
	Path string    `json:"path"`
	OS   ftypes.OS `json:"os"`
}

// Unidentified is an archive whose packages are unknown, because nothing in it
// says what it is: no verdict about it is possible.
type Unidentified struct {
	Path   string `json:"path"`
	Inside string `json:"inside,omitempty"` // where in the archive at Path, if not that itself
	SHA1   string `json:"sha1"`             // what Maven repositories know it by
}

// Problem is a file that should have been understood and was not. A scan with
// one is incomplete.
type Problem struct {
	Path     string `json:"path"`
	Inside   string `json:"inside,omitempty"` // where in the archive at Path, if not that itself
	Analyzer string `json:"analyzer"`         // who gave up: dpkg, apk, jar, …
	Reason   string `json:"reason"`
}

func (p Problem) String() string {
	path := p.Path
	if p.Inside != "" {
		path += "!" + p.Inside
	}
	return fmt.Sprintf("%s: %s: %s", path, p.Analyzer, p.Reason)
}

// Layer walks one layer, once, and returns what is in it.
//
// A file that a parser can't read is a [Problem] in the result; a layer that
// can't be read to its end, or is not the one named, is an error.
func Layer(ctx context.Context, in Input, opts Options) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // after an error nobody waits for what is still being looked at
	result, err := readLayer(ctx, in, opts)
	if err != nil {
		err = fmt.Errorf("layer %s: %w", in.DiffID, err)
		if fault.Hint(err) == "" {
			err = fault.Failed(err, "build or fetch the image again; one that is meant to be like this gets no verdict")
		}
		return nil, err
	}
	return result, nil
}

func readLayer(ctx context.Context, in Input, opts Options) (*Result, error) {
	l := newLayer(ctx, opts)
	l.result.DiffID = in.DiffID
	tar, err := newVerifier(in)
	if err != nil {
		return nil, err
	}
	if err := image.WalkLayer(ctx, tar, opts.Limits, func(e image.Entry, r io.Reader) error {
		return l.entry(ctx, e, r)
	}); err != nil {
		return nil, err
	}
	if err := tar.end(); err != nil {
		return nil, err
	}
	l.result.Size = tar.size
	return l.finish()
}

// verifier hashes what passes through it. A tar that lost its end at an entry's
// border looks complete to a tar reader; to a digest it does not.
type verifier struct {
	from io.Reader
	sum  hash.Hash // nil: someone else does it
	want v1.Hash
	size int64 // read so far
}

func newVerifier(in Input) (*verifier, error) {
	if in.Verified {
		return &verifier{from: in.Tar}, nil
	}
	if in.DiffID.Algorithm != "sha256" {
		return nil, fmt.Errorf("digests of algorithm %q are not understood; want sha256", in.DiffID.Algorithm)
	}
	return &verifier{from: in.Tar, sum: sha256.New(), want: in.DiffID}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.from.Read(p)
	v.size += int64(n)
	if v.sum != nil {
		v.sum.Write(p[:n])
	}
	return n, err
}

// end reads what the tar reader left and compares the digest.
func (v *verifier) end() error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return err
	}
	if v.sum == nil {
		return nil
	}
	if got := fmt.Sprintf("%x", v.sum.Sum(nil)); got != v.want.Hex {
		return &digestError{Want: v.want, Got: "sha256:" + got}
	}
	return nil
}

type digestError struct {
	Want v1.Hash
	Got  string
}

func (e *digestError) Error() string {
	return fmt.Sprintf("content has digest %s: damaged or cut short", e.Got)
}

func (e *digestError) Hint() string { return "build or fetch the image again" }

// errTooLarge is why a file was not parsed.
var errTooLarge = errors.New("too large")

func tooLarge(size, limit int64) error {
	return fmt.Errorf("%w: %d bytes, more than the %d a parser is given", errTooLarge, size, limit)
}
