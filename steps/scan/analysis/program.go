package analysis

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"

	gobinary "github.com/aquasecurity/trivy/pkg/dependency/parser/golang/binary"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/internal/image"
)

const nameGoBinary = "gobinary"

// magicBytes is how much of a file tells a program from a script.
const magicBytes = 4

// Bounds of a program, as its parsers believe every size it claims.
const (
	maxProgramRead   = 64 << 20 // bytes that a parser reads: headers, symbols and the segment with the modules
	maxModules       = 50_000
	maxLinkerFlags   = 64 << 10 // bytes; they are taken apart in a way that costs the square of that
	maxVersionSymbol = 64 << 10 // bytes of the string that a symbol points to, which is read whole
)

// goMark stands before what Go notes in a program.
const goMark = "\xff Go buildinf:"

func executable(e image.Entry) bool {
	return e.Mode.Perm()&0o111 != 0 || path.Ext(e.Path) == ".exe"
}

// programAnalyzers returns who wants an executable file that starts with head.
//
// What they read of a program is little, and lies where its headers say; so to
// let them look costs less than to look for their marks in all of it.
func (l *layer) programAnalyzers(head []byte, size int64) []analyzer {
	if !isProgram(head) {
		return nil
	}
	wanted := []analyzer{
		{nameGoBinary, l.opts.MaxExecutable, l.goBinary},
		{nameRustBinary, l.opts.MaxExecutable, l.rustBinary},
	}
	if size > l.opts.MaxExecutable {
		wanted = wanted[:1] // to say so once is enough
	}
	return wanted
}

// isProgram reports whether a file that starts with head may be a Go or a Rust
// program. AIX's format is left out: no container runs it.
func isProgram(head []byte) bool {
	for _, magic := range []string{
		"\x7fELF", "MZ", // Linux, Windows
		"\xfe\xed\xfa", "\xca\xfe\xba\xbe", "\xca\xfe\xba\xbf", // macOS
		"\x00\x00\x01\xeb", "\x00\x00\x8a\x97", "\x00\x00\x06\x47", // Plan 9
		"\x00asm", // WebAssembly
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return len(head) == magicBytes && string(head[1:]) == "\xfa\xed\xfe" // macOS, little-endian
}

// frugal reads a program up to a limit.
type frugal struct {
	*content
	left int64
}

func newFrugal(c *content) *frugal { return &frugal{c, maxProgramRead} }

// ReadAt implements io.ReaderAt.
func (f *frugal) ReadAt(p []byte, off int64) (int, error) {
	if f.left -= int64(len(p)); f.left < 0 {
		return 0, f.err(nil)
	}
	return f.content.ReadAt(p, off)
}

// err returns err, or why it came to that.
func (f *frugal) err(err error) error {
	if f.left < 0 {
		return fmt.Errorf("%w: headers and data of more than %d bytes", errTooLarge, maxProgramRead)
	}
	return err
}

// goBinary reads the modules that Go notes in what it builds.
func (l *layer) goBinary(ctx context.Context, p string, c *content) error {
	err := goFits(c)
	if err == nil {
		r := newFrugal(c)
		err = r.err(l.application(ctx, ftypes.GoBinary, nameGoBinary, p, "", r, gobinary.NewParser()))
	}
	switch {
	case errors.Is(err, gobinary.ErrUnrecognizedExe), errors.Is(err, gobinary.ErrNonGoBinary):
		return nil
	case errors.Is(err, errTooLarge):
		if marked, e := contains(c, goMark); e != nil || !marked {
			return e // not Go's
		}
	}
	return err
}

// goFits checks how much a Go program makes its parser do. Of another program it
// says nothing, unless to find that out is too much already.
func goFits(c *content) error {
	r := newFrugal(c)
	if err := namesFit(r); err != nil {
		return r.err(err)
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return r.err(nil)
	}
	if n := len(info.Deps); n > maxModules {
		return fmt.Errorf("%w: %d modules, more than %d", errTooLarge, n, maxModules)
	}
	for _, s := range info.Settings {
		if n := len(s.Value); s.Key == "-ldflags" && n > maxLinkerFlags {
			return fmt.Errorf("%w: linker flags of %d bytes, more than %d", errTooLarge, n, maxLinkerFlags)
		}
	}
	if info.Main.Path == "" {
		return nil // its version is not looked for
	}
	return r.err(symbolsFit(r))
}

// symbolsFit checks the symbols of a program in ELF, among which the version of
// its main module may be.
func symbolsFit(r io.ReaderAt) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil // not ELF, and so not read for symbols
	}
	table := f.SectionByType(elf.SHT_SYMTAB)
	if table == nil || int(table.Link) >= len(f.Sections) {
		return nil // stripped, as most programs of an image are
	}
	names := f.Sections[table.Link]
	if (table.Flags|names.Flags)&elf.SHF_COMPRESSED != 0 {
		return fmt.Errorf("%w: compressed symbols", errTooLarge) // nobody does that
	}
	text, err := names.Data()
	if err != nil {
		return nil
	}
	symbols, err := table.Data()
	if err != nil {
		return nil
	}
	each, size := elf.Sym64Size, func(s []byte) uint64 { return f.ByteOrder.Uint64(s[16:]) }
	if f.Class == elf.ELFCLASS32 {
		each, size = elf.Sym32Size, func(s []byte) uint64 { return uint64(f.ByteOrder.Uint32(s[8:])) }
	}
	var sum nameSum
	for ; len(symbols) >= each; symbols = symbols[each:] {
		name, err := sum.add(text, f.ByteOrder.Uint32(symbols))
		if err != nil {
			return err
		}
		if n := size(symbols); bytes.HasSuffix(name, []byte(".str")) && n > maxVersionSymbol {
			return fmt.Errorf("%w: symbol %s claims %d bytes", errTooLarge, shorten(string(name)), n)
		}
	}
	return nil
}

// contains reports whether the content has one of the marks in it.
func contains(c *content, marks ...string) (bool, error) {
	const chunk, overlap = 256 << 10, 32 // no mark is longer
	buf := make([]byte, chunk)
	for off := int64(0); off < c.size; off += chunk - overlap {
		n, err := c.ReadAt(buf[:min(chunk, c.size-off)], off)
		if err != nil && err != io.EOF {
			return false, err
		}
		for _, mark := range marks {
			if bytes.Contains(buf[:n], []byte(mark)) {
				return true, nil
			}
		}
	}
	return false, nil
}
