package analysis

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"go/build"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gobinary "github.com/aquasecurity/trivy/pkg/dependency/parser/golang/binary"
	rustbinary "github.com/aquasecurity/trivy/pkg/dependency/parser/rust/binary"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

const crates = `{"packages":[
  {"name":"libc","version":"0.2.1","source":"crates.io"},
  {"name":"build","version":"1.0.0","source":"crates.io","kind":"build"},
  {"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[0,1]}]}`

func packed(t testing.TB, data string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func encode(t testing.TB, order binary.ByteOrder, parts ...any) []byte {
	t.Helper()
	var buf bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&buf, order, p); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

// elfFile makes a program of one section with data, whose name and those of many
// more sections are in names.
func elfFile(t testing.TB, class elf.Class, order binary.ByteOrder, names string, data []byte, more int) []byte {
	t.Helper()
	ident := [16]byte{0x7f, 'E', 'L', 'F', byte(class), byte(elf.ELFDATA2LSB), 1}
	if order == binary.BigEndian {
		ident[5] = byte(elf.ELFDATA2MSB)
	}
	var out []byte
	sections := []elf.Section64{{}, {Name: 1, Type: uint32(elf.SHT_PROGBITS)}, {Type: uint32(elf.SHT_STRTAB)}}
	for i := range more {
		sections = append(sections, elf.Section64{Name: uint32(i) % uint32(len(names)), Type: uint32(elf.SHT_NOTE)})
	}
	place := func(headerSize, each uint64) uint64 {
		sections[1].Off, sections[1].Size = headerSize, uint64(len(data))
		sections[2].Off, sections[2].Size = headerSize+uint64(len(data)), uint64(len(names))
		return headerSize + uint64(len(data)+len(names))
	}
	if class == elf.ELFCLASS64 {
		h := elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: 2}
		h.Shoff = place(64, 64)
		out = encode(t, order, h, data, []byte(names), sections)
	} else {
		h := elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Version: 1, Ehsize: 52, Shentsize: 40, Shnum: uint16(len(sections)), Shstrndx: 2}
		h.Shoff = uint32(place(52, 40))
		out = encode(t, order, h, data, []byte(names))
		for _, s := range sections {
			out = append(out, encode(t, order, elf.Section32{Name: s.Name, Type: s.Type, Off: uint32(s.Off), Size: uint32(s.Size)})...)
		}
	}
	return out
}

func wasmFile(section string, data []byte) []byte {
	payload := slices.Concat([]byte{byte(len(section))}, []byte(section), data)
	out := []byte("\x00asm\x01\x00\x00\x00\x01\x01\x00\x00") // and a section of types, whose content is skipped
	return slices.Concat(out[:11], []byte{0}, binary.AppendUvarint(nil, uint64(len(payload))), payload)
}

// machFile makes a macOS program with a section and symbols, whose names are in
// one table.
func machFile(t testing.TB, data []byte, names string, symbols int) []byte {
	t.Helper()
	const header, segment, symtab = 32, 72 + 80, 24
	seg := macho.Segment64{Cmd: macho.LoadCmdSegment64, Len: segment, Nsect: 1, Offset: header + segment + symtab, Filesz: uint64(len(data))}
	sec := macho.Section64{Size: uint64(len(data)), Offset: header + segment + symtab}
	copy(sec.Name[:], ".dep-v0")
	cmd := macho.SymtabCmd{Cmd: macho.LoadCmdSymtab, Len: symtab, Symoff: uint32(header + segment + symtab + len(data)), Nsyms: uint32(symbols)}
	cmd.Stroff, cmd.Strsize = cmd.Symoff+16*uint32(symbols), uint32(len(names))
	return encode(t, binary.LittleEndian, macho.FileHeader{Magic: macho.Magic64, Ncmd: 2, Cmdsz: segment + symtab}, uint32(0), seg, sec, cmd, data,
		make([]macho.Nlist64, symbols), []byte(names))
}

// peFile makes a Windows program with a section and symbols, whose names are in
// one table.
func peFile(t testing.TB, data []byte, names string, symbols int) []byte {
	t.Helper()
	start := make([]byte, 0x80)
	copy(start, "MZ")
	start[0x3c] = 0x80
	const headers = 0x80 + 4 + 20 + 40
	h := pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, PointerToSymbolTable: uint32(headers + len(data)), NumberOfSymbols: uint32(symbols)}
	s := pe.SectionHeader32{SizeOfRawData: uint32(len(data)), PointerToRawData: headers}
	copy(s.Name[:], ".dep-v0")
	list := make([]pe.COFFSymbol, symbols)
	for i := range list {
		list[i].Name[4] = 4 // where the table of names starts
	}
	return encode(t, binary.LittleEndian, start, []byte("PE\x00\x00"), h, s, data, list, uint32(len(names)+4), []byte(names))
}

func TestLayerReadsTheCratesOfARustProgram(t *testing.T) {
	const names = "\x00.dep-v0\x00"
	list := packed(t, crates)
	for name, program := range map[string][]byte{
		"Linux":             elfFile(t, elf.ELFCLASS64, binary.LittleEndian, names, list, 0),
		"Linux, 32 bits":    elfFile(t, elf.ELFCLASS32, binary.LittleEndian, names, list, 0),
		"Linux, big-endian": elfFile(t, elf.ELFCLASS64, binary.BigEndian, names, list, 3),
		"Linux, long ago":   elfFile(t, elf.ELFCLASS64, binary.LittleEndian, "\x00.rust-deps-v0\x00", list, 0),
		"macOS":             machFile(t, list, "\x00_main\x00", 3),
		"Windows":           peFile(t, list, "a long name\x00", 3),
		"WebAssembly":       wasmFile(".dep-v0", list),
	} {
		t.Run(name, func(t *testing.T) {
			r := analysed(t, Options{}, file{path: "usr/bin/app", content: string(program), mode: 0o755}, file{path: "usr/bin/data", content: string(program)})
			want := []string{"rustbinary usr/bin/app app@0.1.0", "rustbinary usr/bin/app libc@0.2.1"}
			if diff := cmp.Diff(want, found(r)); diff != "" || len(r.Problems) > 0 {
				t.Fatalf("problems %v, found (-want +got):\n%s", r.Problems, diff)
			}
			app := r.Applications[0].Packages[1]
			if app.Relationship != ftypes.RelationshipRoot || !slices.Equal(app.DependsOn, []string{"libc@0.2.1"}) {
				t.Errorf("app: %+v", app)
			}
		})
	}
}

// Whatever is checked before, programs must give what the plain parsers give.
func TestProgramsGiveWhatThePlainParsersGive(t *testing.T) {
	programs := 0
	for _, dir := range []string{filepath.Join(build.Default.GOROOT, "bin"), build.ToolDir, "/bin/", "/usr/lib/x86_64-linux-gnu"} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && p != dir {
				return fs.SkipDir
			}
			info, err := os.Stat(p)
			if err != nil || !info.Mode().IsRegular() || info.Size() < magicBytes || info.Size() > maxInMemory {
				return nil
			}
			data, err := os.ReadFile(p)
			if err != nil || !isProgram(data[:magicBytes]) {
				return nil
			}
			if programs++; programs > 150 {
				return fs.SkipAll
			}
			l := newLayer(t.Context(), Options{})
			for _, a := range l.programAnalyzers(data[:magicBytes], info.Size()) {
				if err := l.parse(t.Context(), a, p, inMemory(data)); err != nil {
					t.Errorf("%s: %s: %v", p, a.name, err)
				}
			}
			var want []ftypes.Application
			if pkgs, deps, err := gobinary.NewParser().Parse(t.Context(), bytes.NewReader(data)); err == nil {
				app, _ := newApplication(ftypes.GoBinary, nameGoBinary, p, "", pkgs, deps)
				want = append(want, app)
			}
			if pkgs, deps, err := rustbinary.NewParser().Parse(t.Context(), bytes.NewReader(data)); err == nil {
				app, _ := newApplication(ftypes.RustBinary, nameRustBinary, p, "", pkgs, deps)
				want = append(want, app)
			}
			if diff := cmp.Diff(want, l.result.Applications); diff != "" {
				t.Errorf("%s (-plain parsers +ours):\n%s", p, diff)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if programs < 5 {
		t.Errorf("only %d programs were there to compare", programs)
	}
}

func TestProgramsThatClaimTooMuchAreProblems(t *testing.T) {
	const rust = "\x00.dep-v0\x00"
	long := rust + strings.Repeat("x", 1<<20) + "\x00"
	huge := func(list string) []byte {
		return elfFile(t, elf.ELFCLASS64, binary.LittleEndian, rust, packed(t, list), 0)
	}
	for name, program := range map[string][]byte{
		"names of sections in each other":   elfFile(t, elf.ELFCLASS64, binary.LittleEndian, long, packed(t, crates), 1000),
		"the same with 32 bits":             elfFile(t, elf.ELFCLASS32, binary.BigEndian, long, packed(t, crates), 1000),
		"names of symbols in each other":    machFile(t, packed(t, crates), strings.Repeat("x", 1<<20)+"\x00", 100),
		"the same on Windows":               peFile(t, packed(t, crates), strings.Repeat("x", 1<<20)+"\x00", 100),
		"a bomb of a list":                  huge(strings.Repeat(" ", 17<<20)),
		"a list of nothing but crates":      huge(`{"packages":[` + strings.Repeat("{},", 500_000) + `{}]}`),
		"a name that is copied often":       huge(`{"packages":[{"name":"` + strings.Repeat("x", 300) + `"}]}`),
		"a list that is too long, packed":   elfFile(t, elf.ELFCLASS64, binary.LittleEndian, rust, make([]byte, maxAudit+1), 0),
		"a module of too many sections":     slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), bytes.Repeat([]byte{1, 0}, maxWasmSections), []byte(".dep-v0")),
		"a module with a name too long":     append([]byte("\x00asm\x01\x00\x00\x00\x00\x80\x80\x80\x01\x80\x80\x10"), ".dep-v0"...),
		"a list whose crates are not there": huge(`{"packages":[{"name":"a","version":"1","dependencies":[7]}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			r := analysed(t, Options{}, file{path: "a", content: string(program), mode: 0o755})
			if len(r.Problems) != 1 || r.Problems[0].Analyzer != nameRustBinary {
				t.Errorf("problems %v; want one of %s", r.Problems, nameRustBinary)
			}
		})
	}
}

// Nothing is lost with a program that is too much to read but has no mark of
// what would be looked for.
func TestProgramsThatClaimTooMuchButHaveNoMarkAreNone(t *testing.T) {
	program := elfFile(t, elf.ELFCLASS64, binary.LittleEndian, "\x00.text\x00"+strings.Repeat("x", 1<<20)+"\x00", nil, 1000)
	r := analysed(t, Options{}, file{path: "a", content: string(program), mode: 0o755})
	if len(r.Problems) > 0 {
		t.Errorf("problems %v", r.Problems)
	}
	at := bytes.Repeat([]byte("x"), 1<<20)
	for _, off := range []int{0, 256<<10 - 5, 256<<10 - 33, 1<<20 - len(goMark)} {
		data := slices.Clone(at)
		copy(data[off:], goMark)
		if found, err := contains(inMemory(data), goMark); err != nil || !found {
			t.Errorf("the mark at %d is not found (%v)", off, err)
		}
	}
	if found, err := contains(inMemory(at), goMark); err != nil || found {
		t.Errorf("a mark is found where there is none (%v)", err)
	}
}

// A symbol's names can be in each other as those of sections.
func TestSymbolsThatClaimTooMuchAreAProblem(t *testing.T) {
	names := strings.Repeat("x", 1<<20) + ".str\x00"
	for _, tc := range []struct {
		name    string
		symbols []elf.Sym64
	}{
		{"names in each other", make([]elf.Sym64, 100)},
		{"a version of megabytes", []elf.Sym64{{}, {Name: 1 << 20, Size: 1 << 20}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := slices.Concat(encode(t, binary.LittleEndian, tc.symbols), []byte(names))
			program := elfFile(t, elf.ELFCLASS64, binary.LittleEndian, "\x00.symtab\x00", data, 1)
			at := len(program) - 4*64 // the section headers
			size := uint64(len(tc.symbols) * elf.Sym64Size)
			for i, s := range []elf.Section64{
				{Type: uint32(elf.SHT_SYMTAB), Off: 64, Size: size, Link: 3},
				{}, // names of sections
				{Type: uint32(elf.SHT_STRTAB), Off: 64 + size, Size: uint64(len(names))},
			} {
				if i != 1 {
					copy(program[at+(i+1)*64:], encode(t, binary.LittleEndian, s))
				}
			}
			if err := symbolsFit(bytes.NewReader(program)); err == nil {
				t.Error("the symbols fit")
			}
		})
	}
}
