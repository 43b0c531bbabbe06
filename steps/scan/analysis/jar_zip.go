package analysis

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
)

// Bounds of an archive's directory, which package zip holds in memory while it
// is looked through. The largest archives of Maven Central have 300,000 entries.
const (
	maxEntries   = 500_000
	maxDirectory = 64 << 20 // bytes
)

// Files that say which packages an archive holds.
const (
	filePomProperties = "pom.properties"
	filePom           = "pom.xml"
	fileManifest      = "MANIFEST.MF"
)

// isArchive reports whether name, in an archive, is one to look into. Trivy does
// not look for .par, or for other cases, inside.
func isArchive(name string) bool {
	switch path.Ext(name) {
	case ".jar", ".war", ".ear":
		return true
	}
	return false
}

// openArchive opens a zip. Of its entries only the archives and the files that
// describe it are left; code says whether there were classes.
func openArchive(c *content) (zr *zip.Reader, code bool, err error) {
	guard := &directoryGuard{ReaderAt: c}
	if zr, err = zip.NewReader(guard, c.size); err != nil {
		return nil, false, err
	}
	guard.passed = true
	if len(zr.File) > maxEntries {
		return nil, false, errTooManyEntries()
	}
	code = slices.ContainsFunc(zr.File, func(f *zip.File) bool { return path.Ext(f.Name) == ".class" })
	zr.File = slices.Clone(slices.DeleteFunc(zr.File, func(f *zip.File) bool { // what is not kept is freed
		switch path.Base(f.Name) {
		case filePomProperties, filePom, fileManifest:
			return false
		}
		return !isArchive(f.Name)
	}))
	return zr, code, nil
}

func errTooManyEntries() error {
	return fmt.Errorf("%w: more than %d entries", errTooLarge, maxEntries)
}

// directoryGuard bounds what package zip reads of a directory. That takes as
// many entries as it finds, and makes room for as many as a zip64 end of the
// directory claims.
type directoryGuard struct {
	io.ReaderAt
	bytes, entries int
	passed         bool
}

func (g *directoryGuard) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.ReaderAt.ReadAt(p, off)
	if g.passed {
		return n, err
	}
	const tail = 64 << 10 // is read before the directory, and may overlap it
	g.bytes += n
	// A signature at the edge of a read is not counted; such an entry has as
	// many bytes as a read.
	g.entries += bytes.Count(p[:n], []byte("PK\x01\x02"))
	switch {
	case g.entries > maxEntries+tail, claimedEntries(p[:n]) > maxEntries:
		return 0, errTooManyEntries()
	case g.bytes > maxDirectory+2*tail:
		return 0, fmt.Errorf("%w: its directory has more than %d bytes", errTooLarge, maxDirectory)
	}
	return n, err
}

// claimedEntries is how many entries a zip64 end of the directory claims, if
// that is what was read (APPNOTE.TXT 4.3.14,
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT).
func claimedEntries(read []byte) uint64 {
	const total = 32 // where the number stands
	if len(read) < total+8 || !bytes.HasPrefix(read, []byte("PK\x06\x06")) {
		return 0
	}
	return binary.LittleEndian.Uint64(read[total:])
}
