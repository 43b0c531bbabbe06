package analysis

import (
	"archive/zip"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/javaindex"
)

const nameJar = "jar"

// Bounds of archives inside archives. A web application holds some hundred
// jars, one deep; a war in an ear makes it two.
const (
	maxNesting = 8
	// maxInside bounds the archives, and the files that describe them, in one
	// file of a layer.
	maxInside = 50_000
	// Archives hardly compress: what is inside one may unpack to maxRatio times
	// its size, or to smallArchive bytes where that is more.
	maxRatio     = 100
	smallArchive = 64 << 20
)

// javaAnalyzers returns who wants a Java archive.
func (l *layer) javaAnalyzers(e image.Entry) []analyzer {
	switch strings.ToLower(path.Ext(e.Path)) {
	case ".jar", ".war", ".ear", ".par":
		return []analyzer{{nameJar, l.opts.MaxArchive, l.javaArchive}}
	}
	return nil
}

// javaArchive looks into a Java archive and those inside it, as Trivy does.
//
// What an archive is, its pom.properties says; what they don't, Trivy asks an
// index of Maven Central. A layer's result must not depend on that, so it notes
// the questions, and [Identify] answers them. A broken archive inside another is
// a problem here; Trivy drops it.
func (l *layer) javaArchive(ctx context.Context, p string, c *content) error {
	j := &jarWalk{layer: l, outer: p, filesLeft: maxInside}
	j.budget = min(l.opts.MaxArchive, max(smallArchive, maxRatio*c.size))
	j.bytesLeft = j.budget
	err := j.archive(ctx, p, c, 0)
	pkgs, before := withoutTwins(j.pkgs)
	for i := range j.questions {
		j.questions[i].At = before[j.questions[i].At]
	}
	l.result.Questions = append(l.result.Questions, j.questions...)
	l.addApplication(ftypes.Jar, nameJar, p, p, pkgs, nil)
	return err
}

type jarWalk struct {
	layer     *layer
	outer     string // path in the layer
	pkgs      []ftypes.Package
	questions []Question

	budget    int64 // that all inside may unpack to
	bytesLeft int64
	filesLeft int
}

// javaArchive is what one archive says about itself.
type javaArchive struct {
	name     string             // outer, or a path below it
	file     javaindex.Artifact // as its file is called
	named    bool               // a pom.properties says the same as the file's name
	manifest manifest
	licenses map[string][]string // by package, from pom.xml
	nested   int                 // archives inside
	pkgs     int                 // packages of its own
}

// archive looks into the archive at name.
func (j *jarWalk) archive(ctx context.Context, name string, c *content, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.size == 0 {
		return nil // as in Trivy: nothing is in it
	}
	zr, code, err := openArchive(c)
	if err != nil {
		return err
	}
	a := javaArchive{name: name, file: fromFileName(name), licenses: map[string][]string{}}
	start := len(j.pkgs)
	for _, f := range zr.File {
		if j.filesLeft--; j.filesLeft < 0 {
			return fmt.Errorf("more than %d archives, and files that describe them, inside", maxInside)
		}
		if isArchive(f.Name) {
			a.nested++
			if err := j.inner(ctx, name, f, depth+1); err != nil {
				j.problem(path.Join(name, f.Name), err)
			}
		} else if err := j.describe(&a, f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	inside := j.pkgs[start:]
	addPomLicenses(inside, a.licenses)
	addManifestLicenses(inside, name, a.manifest.licenses())
	if a.named {
		return nil
	}
	// An archive with nothing of its own but other archives is a container, and
	// one that holds others' pom.properties (a shaded jar) is known by them.
	return j.ask(a, c, a.pkgs == 0 && (a.nested == 0 || code))
}

// describe takes what a file in the archive says about it.
func (j *jarWalk) describe(a *javaArchive, f *zip.File) error {
	base := path.Base(f.Name)
	data, err := j.read(f)
	if err != nil && base == filePom {
		return nil // it names licences only
	}
	if err != nil {
		return err
	}
	switch base {
	case filePomProperties:
		props, err := parsePomProperties(data)
		if err != nil || !whole(props) {
			return err
		}
		a.pkgs++
		j.pkgs = append(j.pkgs, javaPackage(props, a.name))
		if props.ArtifactID == a.file.ArtifactID && props.Version == a.file.Version {
			a.named = true
		}
	case fileManifest:
		a.manifest = parseManifest(data)
	case filePom:
		if pkg, ok := pomPackage(f.Name); ok {
			if names := pomLicenses(data); len(names) > 0 {
				a.licenses[pkg] = names
			}
		}
	}
	return nil
}

// read returns a file that describes an archive. Its checksum is verified.
func (j *jarWalk) read(f *zip.File) ([]byte, error) {
	limit := min(maxMetadata, j.bytesLeft)
	if f.UncompressedSize64 > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, more than the %d it may have", errTooLarge, f.UncompressedSize64, limit)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1)) // package zip fails when it is not as long as it says
	j.bytesLeft -= int64(len(data))
	return data, err
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
	if f.UncompressedSize64 > uint64(j.bytesLeft) {
		return fmt.Errorf("%w: all that is inside unpacks to more than %d bytes (at most %d times the archive's own size, and never more than %d)",
			errTooLarge, j.budget, maxRatio, j.layer.opts.MaxArchive)
	}
	size := int64(f.UncompressedSize64)
	j.bytesLeft -= size
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	c, err := newContent(r, size, j.layer.opts.TempDir, nil)
	if err != nil {
		return err
	}
	defer c.close()
	// At its end package zip compares length and checksum with the directory's.
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("it is not what the archive's directory says: %w", err)
	}
	return j.archive(ctx, inside, c, depth)
}

func (j *jarWalk) inside(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, j.outer), "/")
}

func (j *jarWalk) problem(name string, err error) {
	j.layer.problem(Problem{Path: j.outer, Inside: j.inside(name), Analyzer: nameJar}, err)
}

// ask notes what is to be asked about an archive that does not say what it is.
// Nothing known about it at all also makes it an unidentified one.
func (j *jarWalk) ask(a javaArchive, c *content, unknown bool) error {
	sum := sha1.New() // what Maven repositories index by
	if _, err := io.Copy(sum, io.NewSectionReader(c, 0, c.size)); err != nil {
		return err
	}
	q := Question{Path: j.outer, Inside: j.inside(a.name), SHA1: fmt.Sprintf("%x", sum.Sum(nil)), At: len(j.pkgs)}
	if said := a.manifest.artifact(); whole(said) {
		q.Manifest = &said
	}
	if a.file.ArtifactID != "" {
		q.FileName = &a.file
	}
	if a.pkgs == 0 {
		q.Licenses = a.manifest.licenses()
	}
	j.questions = append(j.questions, q)
	if unknown {
		j.layer.result.Unidentified = append(j.layer.result.Unidentified, Unidentified{Path: q.Path, Inside: q.Inside, SHA1: q.SHA1})
	}
	return nil
}

func javaPackage(a javaindex.Artifact, file string) ftypes.Package {
	return ftypes.Package{Name: a.GroupID + ":" + a.ArtifactID, Version: a.Version, FilePath: file}
}

// whole reports whether nothing of the artifact's name is missing.
func whole(a javaindex.Artifact) bool {
	return a.GroupID != "" && a.ArtifactID != "" && a.Version != ""
}
