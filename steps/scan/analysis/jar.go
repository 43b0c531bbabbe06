package analysis

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/java/jar"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/imagewright/imagewright/internal/image"
)

const nameJar = "jar"

// Bounds of archives inside archives. A web application holds some hundred
// jars, one deep; a war in an ear makes it two.
const (
	maxNesting = 8
	maxNested  = 20_000
)

// javaAnalyzers returns who wants a Java archive.
func (l *layer) javaAnalyzers(e image.Entry) []analyzer {
	switch strings.ToLower(path.Ext(e.Path)) {
	case ".jar", ".war", ".ear", ".par":
		return []analyzer{{nameJar, l.opts.MaxArchive, l.javaArchive}}
	}
	return nil
}

// javaArchive looks into a Java archive and those inside it.
//
// Trivy's parser would unpack inner archives itself, without a bound, and drop
// those it can't read. So it gets each archive alone, reduced to the metadata
// it reads; the recursion is done here, where size, number and depth count and
// a broken inner archive is a problem. Trivy asks its index of Maven Central
// what an archive without pom.properties is; there is none here, so such
// archives are noted as unidentified.
func (l *layer) javaArchive(ctx context.Context, p string, c *content) error {
	j := &jarWalk{layer: l, outer: p, bytesLeft: l.opts.MaxArchive, nestedLeft: maxNested}
	err := j.archive(ctx, p, c, 0)
	l.addApplication(ftypes.Jar, nameJar, p, p, j.pkgs, nil)
	return err
}

type jarWalk struct {
	layer      *layer
	outer      string // path in the layer
	pkgs       []ftypes.Package
	bytesLeft  int64
	nestedLeft int
}

// archive looks into the archive at name, which is outer or in it.
func (j *jarWalk) archive(ctx context.Context, name string, c *content, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	zr, err := zip.NewReader(c, c.size)
	if err != nil {
		return err
	}
	reduced, err := metadataOnly(zr)
	if err != nil {
		return err
	}
	var unidentified bool
	parser := jar.NewParser(noIndex{&unidentified}, jar.WithFilePath(name), jar.WithSize(int64(len(reduced))))
	pkgs, _, err := parser.Parse(ctx, bytes.NewReader(reduced))
	if err != nil {
		return err
	}
	j.pkgs = append(j.pkgs, pkgs...)

	nested := 0
	for _, f := range zr.File {
		// Trivy does not look for .par, or for other cases, inside.
		if ext := path.Ext(f.Name); ext != ".jar" && ext != ".war" && ext != ".ear" {
			continue
		}
		nested++
		if err := j.inner(ctx, name, f, depth+1); err != nil {
			j.problem(path.Join(name, f.Name), err)
		}
	}
	// An archive with nothing of its own but other archives is a container, and
	// one that holds other's pom.properties (a shaded jar) is known by them.
	if unidentified && len(pkgs) == 0 && (nested == 0 || hasClasses(zr)) {
		return j.note(name, c)
	}
	return nil
}

// inner unpacks and looks into one archive inside the one at name.
func (j *jarWalk) inner(ctx context.Context, name string, f *zip.File, depth int) error {
	inside := path.Join(name, f.Name)
	if !strings.HasPrefix(inside, name+"/") {
		return errors.New("its path leaves the archive")
	}
	if depth > maxNesting {
		return fmt.Errorf("archives nested more than %d deep", maxNesting)
	}
	if j.nestedLeft--; j.nestedLeft < 0 {
		return fmt.Errorf("more than %d archives inside", maxNested)
	}
	size := f.UncompressedSize64
	if size > uint64(j.bytesLeft) {
		return fmt.Errorf("%w: the archives inside are more than %d bytes together", errTooLarge, j.layer.opts.MaxArchive)
	}
	j.bytesLeft -= int64(size)
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	c, err := newContent(r, int64(size), j.layer.opts.TempDir, nil)
	if err != nil {
		return err
	}
	defer c.close()
	return j.archive(ctx, inside, c, depth)
}

func (j *jarWalk) inside(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, j.outer), "/")
}

func (j *jarWalk) problem(name string, err error) {
	j.layer.problem(Problem{Path: j.outer, Inside: j.inside(name), Analyzer: nameJar}, err)
}

// note lists the archive at name as unidentified.
func (j *jarWalk) note(name string, c *content) error {
	sum := sha1.New() // what Maven repositories index by
	if _, err := io.Copy(sum, io.NewSectionReader(c, 0, c.size)); err != nil {
		return err
	}
	j.layer.result.Unidentified = append(j.layer.result.Unidentified,
		Unidentified{Path: j.outer, Inside: j.inside(name), SHA1: fmt.Sprintf("%x", sum.Sum(nil))})
	return nil
}

// metadataOnly returns a copy of the archive with only what says which
// packages it holds, compressed as it was.
func metadataOnly(zr *zip.Reader) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range zr.File {
		switch path.Base(f.Name) {
		case "pom.properties", "pom.xml", "MANIFEST.MF":
		default:
			continue
		}
		if f.UncompressedSize64 > maxMetadata || f.CompressedSize64 > maxMetadata {
			return nil, fmt.Errorf("%s: %w", f.Name, errTooLarge)
		}
		if buf.Len() > 4*maxMetadata {
			return nil, fmt.Errorf("metadata in it: %w", errTooLarge)
		}
		if err := w.Copy(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func hasClasses(zr *zip.Reader) bool {
	for _, f := range zr.File {
		if path.Ext(f.Name) == ".class" {
			return true
		}
	}
	return false
}

// noIndex answers the parser's questions to its index of Maven Central: nothing
// is known. The second question comes only for an archive that nothing inside
// identifies.
type noIndex struct{ asked *bool }

func (noIndex) Exists(string, string) (bool, error) { return false, nil }

func (n noIndex) SearchBySHA1(string) (jar.Properties, error) {
	*n.asked = true
	return jar.Properties{}, jar.ArtifactNotFoundErr
}

func (noIndex) SearchByArtifactID(string, string) (string, error) {
	return "", jar.ArtifactNotFoundErr
}
