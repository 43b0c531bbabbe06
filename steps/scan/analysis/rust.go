package analysis

import (
	"bytes"
	"compress/zlib"
	"context"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	rustbinary "github.com/aquasecurity/trivy/pkg/dependency/parser/rust/binary"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameRustBinary = "rustbinary"

// Bounds of the list of crates in a Rust program. A name in it is copied for each
// crate that depends on it.
const (
	maxAudit        = 8 << 20 // bytes of the section
	maxWasmSections = 100_000
	maxWasmName     = 64 << 10 // bytes
)

var inAudit = bounds{size: 16 << 20, depth: 16, values: 500_000, text: 256}

// rustMarks are in a program that has a list of crates: the ends of the names
// that its section has in one format or another.
var rustMarks = []string{"dep-v0", "deps-v0"}

// rustBinary reads the crates that cargo-auditable notes in what it builds.
//
// Format: https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md
func (l *layer) rustBinary(ctx context.Context, p string, c *content) error {
	r := newFrugal(c)
	err := auditFits(r)
	if err == nil {
		r = newFrugal(c)
		err = r.err(l.application(ctx, ftypes.RustBinary, nameRustBinary, p, "", r, rustbinary.NewParser()))
	}
	switch {
	case errors.Is(err, rustbinary.ErrUnrecognizedExe), errors.Is(err, rustbinary.ErrNonRustBinary):
		return nil
	case errors.Is(err, errTooLarge):
		if marked, e := contains(c, rustMarks...); e != nil || !marked {
			return e // not Rust's, or without a list
		}
	}
	return err
}

// auditFits checks the list of crates. What is wrong with it is left to its
// parser.
func auditFits(r *frugal) error {
	if err := namesFit(r); err != nil {
		return r.err(err)
	}
	section, err := auditSection(r)
	if err != nil || r.left < 0 || section == nil {
		return r.err(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(section))
	if err != nil {
		return nil
	}
	defer z.Close()
	list, err := io.ReadAll(io.LimitReader(z, inAudit.size+1))
	if err != nil {
		return nil
	}
	if int64(len(list)) > inAudit.size {
		return fmt.Errorf("%w: a list of crates of more than %d bytes", errTooLarge, inAudit.size)
	}
	return inAudit.checkJSON(list)
}

// auditSection returns the packed list of crates; nil if there is none.
func auditSection(r *frugal) ([]byte, error) {
	var head [8]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, nil
	}
	switch {
	case bytes.HasPrefix(head[:], []byte(elf.ELFMAG)):
		if f, err := elf.NewFile(r); err == nil {
			if s := first(f.Section, ".dep-v0", ".rust-deps-v0"); s != nil {
				return dataOf(s.Size, s.Data)
			}
		}
	case bytes.HasPrefix(head[:], []byte("MZ")):
		if f, err := pe.NewFile(r); err == nil {
			if s := first(f.Section, ".dep-v0", "rdep-v0"); s != nil {
				return dataOf(uint64(s.Size), s.Data)
			}
		}
	case bytes.HasPrefix(head[:], []byte("\x00asm")):
		return wasmAudit(r)
	default:
		if f, err := macho.NewFile(r); err == nil {
			if s := first(f.Section, ".dep-v0", "rust-deps-v0"); s != nil {
				return dataOf(s.Size, s.Data)
			}
		}
	}
	return nil, nil
}

// first returns the section that has the first of the names which one has.
func first[S any](section func(string) *S, names ...string) *S {
	for _, name := range names {
		if s := section(name); s != nil {
			return s
		}
	}
	return nil
}

func dataOf(size uint64, data func() ([]byte, error)) ([]byte, error) {
	if size > maxAudit {
		return nil, fmt.Errorf("%w: a list of crates of %d bytes, packed", errTooLarge, size)
	}
	section, err := data()
	if err != nil {
		return nil, nil
	}
	return section, nil
}

// wasmAudit looks for the list of crates among the sections of a WebAssembly
// module, and for anything that would keep its parser busy.
//
// Format: https://webassembly.github.io/spec/core/binary/modules.html
func wasmAudit(r io.ReaderAt) ([]byte, error) {
	off := int64(8)
	number := func() (int64, bool) {
		var buf [4]byte
		if _, err := r.ReadAt(buf[:], off); err != nil {
			return 0, false
		}
		v, n := binary.Uvarint(buf[:])
		off += int64(n)
		return int64(v), n > 0
	}
	for range maxWasmSections {
		var id [1]byte
		if _, err := r.ReadAt(id[:], off); err != nil {
			return nil, nil
		}
		off++
		size, ok := number()
		if !ok {
			return nil, nil
		}
		end := off + size
		if id[0] != 0 { // not one of tools
			off = end
			continue
		}
		length, ok := number()
		if !ok {
			return nil, nil
		}
		if length > maxWasmName {
			return nil, fmt.Errorf("%w: a section's name of %d bytes", errTooLarge, length)
		}
		name := make([]byte, length)
		if _, err := r.ReadAt(name, off); err != nil {
			return nil, nil
		}
		off += length
		if string(name) == ".dep-v0" {
			section := make([]byte, max(0, min(end-off, maxAudit+1)))
			if len(section) > maxAudit {
				return nil, fmt.Errorf("%w: a list of crates of %d bytes, packed", errTooLarge, end-off)
			}
			if _, err := r.ReadAt(section, off); err != nil {
				return nil, nil
			}
			return section, nil
		}
		off = end
	}
	return nil, fmt.Errorf("%w: more than %d sections", errTooLarge, maxWasmSections)
}
