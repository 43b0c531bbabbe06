package analysis

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// maxProgramNames bounds the names of sections and symbols in a program (bytes, all
// together). Names may overlap: a table of a megabyte can hold a million of them
// that are half a megabyte each, and Go's readers make a copy of every one.
const maxProgramNames = 64 << 20

// nameSum adds up the names that a program has.
type nameSum int64

// add returns the name at off in a table of them, and counts it.
func (s *nameSum) add(table []byte, off uint32) ([]byte, error) {
	if int64(off) >= int64(len(table)) {
		return nil, nil
	}
	name := table[off:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	if *s += nameSum(len(name)); *s > maxProgramNames {
		return nil, fmt.Errorf("%w: names of sections and symbols of more than %d bytes", errTooLarge, maxProgramNames)
	}
	return name, nil
}

// namesFit checks the names that Go's readers of programs copy. What is wrong
// with a program otherwise is left to them.
func namesFit(r io.ReaderAt) error {
	var head [16]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil
	}
	switch {
	case bytes.HasPrefix(head[:], []byte(elf.ELFMAG)):
		return elfNames(r, head)
	case bytes.HasPrefix(head[:], []byte("MZ")):
		return peNames(r)
	case binary.BigEndian.Uint32(head[:]) == macho.MagicFat:
		return fatNames(r, binary.BigEndian.Uint32(head[4:]))
	}
	return machNames(r, binary.BigEndian.Uint32(head[:]))
}

// at decodes what stands at off.
func at(r io.ReaderAt, off uint64, order binary.ByteOrder, into any) error {
	if off > math.MaxInt64 {
		return io.EOF
	}
	return binary.Read(io.NewSectionReader(r, int64(off), math.MaxInt64-int64(off)), order, into)
}

// stringTable reads a table of strings; nil if it is not there.
func stringTable(r io.ReaderAt, off, size uint64) ([]byte, error) {
	if size > maxProgramNames {
		return nil, fmt.Errorf("%w: a table of names of %d bytes, more than %d", errTooLarge, size, maxProgramNames)
	}
	if off > math.MaxInt64-maxProgramNames {
		return nil, nil
	}
	table := make([]byte, size)
	n, err := r.ReadAt(table, int64(off))
	if err != nil && err != io.EOF {
		return nil, err
	}
	return table[:n], nil
}

// elfNames checks the names of sections; those of symbols are read only from Go
// programs.
func elfNames(r io.ReaderAt, ident [elf.EI_NIDENT]byte) error {
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var h elf.Header64
	section := func(i uint64) (s elf.Section64, err error) {
		err = at(r, h.Shoff+i*uint64(h.Shentsize), order, &s)
		return s, err
	}
	if elf.Class(ident[elf.EI_CLASS]) == elf.ELFCLASS64 {
		if err := at(r, 0, order, &h); err != nil {
			return nil
		}
	} else {
		var h32 elf.Header32
		if err := at(r, 0, order, &h32); err != nil {
			return nil
		}
		h.Shoff, h.Shentsize, h.Shnum, h.Shstrndx = uint64(h32.Shoff), h32.Shentsize, h32.Shnum, h32.Shstrndx
		section = func(i uint64) (elf.Section64, error) {
			var s elf.Section32
			err := at(r, h.Shoff+i*uint64(h.Shentsize), order, &s)
			return elf.Section64{Name: s.Name, Flags: uint64(s.Flags), Off: uint64(s.Off), Size: uint64(s.Size), Link: s.Link}, err
		}
	}
	if h.Shoff == 0 {
		return nil
	}
	count, names := uint64(h.Shnum), uint64(h.Shstrndx)
	if first, err := section(0); err == nil && count == 0 { // too many for the header
		count = first.Size
		if h.Shstrndx == uint16(elf.SHN_XINDEX) {
			names = uint64(first.Link)
		}
	}
	of, err := section(names)
	if err != nil {
		return nil
	}
	if elf.SectionFlag(of.Flags)&elf.SHF_COMPRESSED != 0 {
		return fmt.Errorf("%w: compressed names of sections", errTooLarge) // nobody does that
	}
	table, err := stringTable(r, of.Off, of.Size)
	if err != nil {
		return err
	}
	var sum nameSum
	for i := range count {
		s, err := section(i)
		if err != nil {
			return nil
		}
		if _, err := sum.add(table, s.Name); err != nil {
			return err
		}
	}
	return nil
}

// peNames checks the names of symbols and sections in Windows' format.
func peNames(r io.ReaderAt) error {
	const lfanew, headerSize = 0x3c, 20
	little := binary.LittleEndian
	var start uint32
	var h pe.FileHeader
	if at(r, lfanew, little, &start) != nil || at(r, uint64(start)+4, little, &h) != nil || h.PointerToSymbolTable == 0 {
		return nil
	}
	symbols := uint64(h.PointerToSymbolTable)
	end := uint64(h.PointerToSymbolTable + pe.COFFSymbolSize*h.NumberOfSymbols) // may overflow, as Go's does
	var size uint32
	if at(r, end, little, &size) != nil || size <= 4 {
		return nil
	}
	table, err := stringTable(r, end, uint64(size)) // an offset counts from the size
	if err != nil {
		return err
	}
	var sum nameSum
	for i := uint32(0); i < h.NumberOfSymbols; i++ {
		var s pe.COFFSymbol
		if at(r, symbols+uint64(i)*pe.COFFSymbolSize, little, &s) != nil {
			return nil
		}
		if little.Uint32(s.Name[:]) == 0 {
			if _, err := sum.add(table, little.Uint32(s.Name[4:])); err != nil {
				return err
			}
		}
		i += uint32(s.NumberOfAuxSymbols)
	}
	for i := range uint64(h.NumberOfSections) {
		var s pe.SectionHeader32
		if at(r, uint64(start)+4+headerSize+uint64(h.SizeOfOptionalHeader)+i*40, little, &s) != nil {
			return nil
		}
		name := strings.TrimRight(string(s.Name[:]), "\x00")
		if off, err := strconv.ParseUint(strings.TrimPrefix(name, "/"), 10, 32); err == nil && name[0] == '/' {
			if _, err := sum.add(table, uint32(off)); err != nil {
				return err
			}
		}
	}
	return nil
}

// fatNames checks macOS programs for several processors in one file.
func fatNames(r io.ReaderAt, count uint32) error {
	for i := range uint64(count) {
		var arch macho.FatArchHeader
		var magic uint32
		if at(r, 8+i*uint64(binary.Size(arch)), binary.BigEndian, &arch) != nil {
			return nil
		}
		one := io.NewSectionReader(r, int64(arch.Offset), int64(arch.Size))
		if at(one, 0, binary.BigEndian, &magic) != nil {
			return nil
		}
		if err := machNames(one, magic); err != nil {
			return err
		}
	}
	return nil
}

// machNames checks the names of symbols in macOS' format; magic is how it
// starts, the highest byte first.
func machNames(r io.ReaderAt, magic uint32) error {
	var order binary.ByteOrder = binary.BigEndian
	off, wide := uint64(28), magic == macho.Magic64
	switch magic {
	case macho.Magic32, macho.Magic64:
	case 0xcefaedfe, 0xcffaedfe: // the same, little-endian
		order, wide = binary.LittleEndian, magic == 0xcffaedfe
	default:
		return nil
	}
	each := uint64(binary.Size(macho.Nlist32{}))
	if wide {
		off, each = 32, uint64(binary.Size(macho.Nlist64{}))
	}
	var h macho.FileHeader
	if at(r, 0, order, &h) != nil {
		return nil
	}
	var sum nameSum
	for range h.Ncmd {
		var kind [2]uint32 // and length
		if at(r, off, order, &kind) != nil || kind[1] < 8 {
			return nil
		}
		var cmd macho.SymtabCmd
		here := off
		off += uint64(kind[1])
		if macho.LoadCmd(kind[0]) != macho.LoadCmdSymtab || at(r, here, order, &cmd) != nil {
			continue
		}
		table, err := stringTable(r, uint64(cmd.Stroff), uint64(cmd.Strsize))
		if err != nil {
			return err
		}
		for i := range uint64(cmd.Nsyms) {
			var name uint32
			if at(r, uint64(cmd.Symoff)+i*each, order, &name) != nil {
				break
			}
			if _, err := sum.add(table, name); err != nil {
				return err
			}
		}
	}
	return nil
}
