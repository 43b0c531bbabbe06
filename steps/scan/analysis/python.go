package analysis

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/python/packaging"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const (
	namePython = "python-pkg"
	nameEgg    = "python-egg"
)

// maxMetadata bounds one metadata file inside an archive (bytes, uncompressed);
// real ones are a few KB.
const maxMetadata = 10 << 20

// Bounds of the header of Python's metadata; what follows it is not read. Old
// metadata has the whole description in the header.
const (
	maxHeader       = 4 << 20   // bytes
	maxHeaderLines  = 100_000   // of them
	maxLicenseLines = 128 << 10 // bytes of those that speak of licences: their text, at most
)

// pythonMetadata reports whether p describes an installed Python distribution:
// a wheel's .dist-info/METADATA, or what eggs have.
func pythonMetadata(p string) bool {
	return path.Base(p) == "METADATA" && strings.Contains(p, ".dist-info") || eggMetadata(p)
}

func eggMetadata(p string) bool {
	for _, end := range []string{"EGG-INFO/PKG-INFO", ".egg-info", ".egg-info/PKG-INFO", ".egg-info/METADATA"} {
		if strings.HasSuffix(p, end) {
			return true
		}
	}
	return false
}

func (l *layer) pythonPackage(ctx context.Context, p string, c *content) error {
	return l.pythonMetadata(ctx, namePython, p, c)
}

func (l *layer) pythonMetadata(ctx context.Context, by ftypes.AnalyzerType, p string, c *content) error {
	if err := metadataHeader(io.NewSectionReader(c, 0, c.size)); err != nil {
		return err
	}
	return l.application(ctx, ftypes.PythonPkg, by, p, p, c, packaging.NewParser())
}

// metadataHeader checks how much the header of metadata holds. A licence is
// taken apart in a way that costs the square of its length.
func metadataHeader(r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxHeader)
	size, lines, license := 0, 0, 0
	about := false // the last field was about licences
	for s.Scan() {
		line := s.Bytes()
		if len(line) == 0 {
			break
		}
		lines++
		size += len(line)
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := bytes.Cut(line, []byte(":"))
			name = bytes.ToLower(name)
			about = bytes.HasPrefix(name, []byte("license")) || string(name) == "classifier"
		}
		if about {
			license += len(line)
		}
		if size > maxHeader || lines > maxHeaderLines || license > maxLicenseLines {
			return fmt.Errorf("%w: the header goes on for %d lines, %d bytes, %d of them about licences", errTooLarge, lines, size, license)
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("%w: a line of more than %d bytes", errTooLarge, maxHeader)
	}
	return s.Err()
}

// pythonEgg looks for the metadata in a zipped egg.
func (l *layer) pythonEgg(ctx context.Context, p string, c *content) error {
	guard := &directoryGuard{ReaderAt: c}
	zr, err := zip.NewReader(guard, c.size)
	if err != nil {
		return err
	}
	guard.passed = true
	i := slices.IndexFunc(zr.File, func(f *zip.File) bool { return eggMetadata(f.Name) })
	if i < 0 {
		return nil
	}
	metadata, err := zipped(zr.File[i])
	if err != nil {
		return err
	}
	return l.pythonMetadata(ctx, nameEgg, p, metadata)
}

// zipped reads a metadata file in an archive.
func zipped(f *zip.File) (*content, error) {
	if f.UncompressedSize64 > maxMetadata {
		return nil, fmt.Errorf("%s: %w: %d bytes, more than %d", f.Name, errTooLarge, f.UncompressedSize64, maxMetadata)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	defer r.Close()
	c, err := newContent(r, int64(f.UncompressedSize64), "", nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	// The checksum is compared when the end is reached.
	if _, err := r.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return c, nil
}
